"""The line that somebody meant who wrote a text where keys belong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pydantic import BaseModel

_NO_QUOTES = re.compile(r"[A-Za-z./][A-Za-z0-9._:/@#+-]*(?<!:)")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def of_item(model: type[BaseModel], got: object) -> str | None:
    """A map that holds what is required, with what was got where it belongs; None when nothing is required.

    What was got may be the text of the one key that matters, {name: that text}, or a map of keys.
    """
    given = {key: key.upper() for key, field in model.model_fields.items() if field.is_required()}
    if not given:
        return None
    if isinstance(got, dict) and got.keys() & given.keys():
        return of_map({**given, **got})
    name, text = _name_and_text(got)
    if name and "name" in given:
        given["name"] = name
    others = [key for key in given if key != "name"]
    if text and len(others) == 1:
        given[others[0]] = text
    return of_map(given)


def of_variables(got: object) -> str:
    """A map of variables, from NAME=VALUE as a shell has it."""
    first = got[0] if isinstance(got, list) and got else got
    name, equals, value = first.partition("=") if isinstance(first, str) else ("", "", "")
    return of_map({name: value} if name and equals else {"NAME": "VALUE"})


def of_map(pairs: Mapping[str, object]) -> str:
    """A map in one line of YAML."""
    return "{" + ", ".join(f"{key}: {_word(value)}" for key, value in pairs.items()) + "}"


def _name_and_text(got: object) -> tuple[str, str]:
    if isinstance(got, dict) and got:
        name, text = next(iter(got.items()))
        return name, text if isinstance(text, str) else ""
    text = got if isinstance(got, str) else ""
    return _NOT_IN_NAMES.sub("-", text.rstrip("/").rpartition("/")[2]).strip("-._"), text


def _word(value: object) -> str:
    if isinstance(value, str):
        return value if _NO_QUOTES.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
