"""Typed reading of a JSON object that somebody else may have damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Malformed(Exception):
    """Part of a sentence: where the document is wrong and what was got."""


class Fields:
    """A JSON object whose fields are asked for by name and type; every misfit raises Malformed."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{where or 'the document'} is {_kind(value)}, not an object")
        self._value: dict[str, Any] = value
        self._where = where

    def at(self, key: str) -> str:
        """The field's place in the document, such as splits.train.shards[3].path."""
        return f"{self._where}.{key}" if self._where else key

    def only(self, *keys: str) -> None:
        for key in self._value:
            if key not in keys:
                raise Malformed(f"{self.at(key)} is not a known field")

    def text(self, key: str) -> str:
        return _text(self._get(key), self.at(key))

    def text_or_none(self, key: str) -> str | None:
        return None if self._value.get(key) is None else self.text(key)

    def texts(self, key: str) -> list[str]:
        return [_text(item, where) for item, where in self._list(key)]

    def count(self, key: str) -> int:
        return _count(self._get(key), self.at(key))

    def counts(self, key: str) -> list[int]:
        return [_count(item, where) for item, where in self._list(key)]

    def object_list(self, key: str) -> Iterator[Fields]:
        return (Fields(item, where) for item, where in self._list(key))

    def objects(self, key: str) -> Iterator[tuple[str, Fields]]:
        """The objects inside the object `key`, by their names."""
        inner = Fields(self._get(key), self.at(key))
        return ((name, Fields(item, inner.at(name))) for name, item in inner._value.items())

    def _get(self, key: str) -> Any:
        if key not in self._value:
            raise Malformed(f"{self.at(key)} is missing")
        return self._value[key]

    def _list(self, key: str) -> Iterator[tuple[Any, str]]:
        items = self._get(key)
        if not isinstance(items, list):
            raise Malformed(f"{self.at(key)} is {_kind(items)}, not a list")
        return ((item, f"{self.at(key)}[{index}]") for index, item in enumerate(items))


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise Malformed(f"{where} is {_kind(value)}, not a text")
    return value


def _count(value: Any, where: str) -> int:
    # True is an int to Python, not to a person.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"{where} is {_kind(value)}, not a whole number from 0 up")
    return value


def _kind(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float)) or value == "":
        return repr(value)
    return {"str": "a text", "list": "a list", "dict": "an object"}.get(type(value).__name__, repr(value))
