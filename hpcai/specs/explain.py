"""Turns what pydantic found into mistakes: the place, what was got, what is allowed, the nearest word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hpcai import units
from hpcai.errors import nearest
from hpcai.specs import example
from hpcai.specs.mistakes import Contradiction, Mistake
from hpcai.specs.yaml_text import Document, Path, key_text

_ARTICLES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a map of names and values",
    "model_type": "a map of the keys",
}


def mistakes_of(
    error: ValidationError, document: Document, model: type[BaseModel], aliases: Mapping[str, str]
) -> list[Mistake]:
    """One mistake per error, contradictions unfolded."""
    found: list[Mistake] = []
    details = error.errors()
    for detail in details:
        path = detail["loc"]
        if detail["type"] == "too_short" and any(
            one["loc"][: len(path)] == path != one["loc"] for one in details
        ):
            continue  # the items are there, and each is told to be wrong
        if detail["type"] == "contradictions":
            found += [contradiction(one, document) for one in detail["ctx"]["contradictions"]]
        else:
            found.append(_mistake(detail, document, model, aliases))
    return found


def contradictions_of(error: ValidationError) -> list[Contradiction]:
    """The contradictions that an error carries."""
    return [
        one
        for detail in error.errors()
        if detail["type"] == "contradictions"
        for one in detail["ctx"]["contradictions"]
    ]


def contradiction(found: Contradiction, document: Document) -> Mistake:
    """The mistake at the first of the keys that the file holds."""
    present = [key for key in found.keys if (key,) in document.keys] or list(found.keys)
    path = found.at or (present[0],)
    return document.place(path, of_key=True).mistake(key_text(path), found.message)


def _mistake(
    detail: ErrorDetails, document: Document, model: type[BaseModel], aliases: Mapping[str, str]
) -> Mistake:
    path: Path = tuple(part for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        message = _unknown_key(str(path[-1]), known, aliases if len(path) == 1 else {})
        return document.place(path, of_key=True).mistake(key_text(path), message)
    if kind == "missing":
        return document.place(path[:-1]).mistake(key_text(path), "is missing")
    if detail["input"] is None and len(path) == 1 and model.model_fields[str(path[0])].is_required():
        return document.place(path).mistake(key_text(path), "is empty, and must be given")
    of_key = "[key]" in detail["loc"]
    return document.place(path, of_key=of_key).mistake(key_text(path), _message(detail, path, model))


_MOST_KEYS = 30
# Of what was got so many characters are repeated.
_LONGEST = 200


def _unknown_key(key: str, known: Sequence[str], aliases: Mapping[str, str]) -> str:
    near = aliases.get(key) or nearest(key, known)
    if near:
        return f"is not a key here; did you mean {near!r}?"
    if len(known) > _MOST_KEYS:
        return "is not a key here; `hpcai config --schema job` has them all"
    return f"is not a key here; keys are {', '.join(known)}"


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    for part in path:
        model = _model_at(model, (part,)) or model
    return list(model.model_fields)


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model of the map, or of the list's items, at `path`; None for plain values."""
    found: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, str):
            field = found.model_fields.get(part) if found else None
            found = _inner_model(field.annotation) if field else None
    return found


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _message(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind, got, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "wrong":
        return str(context["message"]).replace(repr(got), _short(got))
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        near = nearest(got, choices) if isinstance(got, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        return f"got {_short(got)}; {' or '.join(repr(choice) for choice in choices)}{hint}"
    if kind in ("greater_than_equal", "greater_than"):
        limit = context.get("ge", context.get("gt"))
        return f"got {_short(got)}; it must be {'at least' if 'ge' in context else 'more than'} {limit:,.15g}"
    if kind in ("less_than_equal", "less_than"):
        limit = context.get("le", context.get("lt"))
        return f"got {_short(got)}; it must be {'at most' if 'le' in context else 'less than'} {limit:,.15g}"
    if kind == "too_short":
        return f"got {_short(got)}; it must hold at least {context['min_length']} item"
    if kind in _ARTICLES:
        inner = _model_at(model, path)
        hint = _hint_of_map(path, kind, got, inner) or _hint(str(path[-1]), kind, got)
        return f"got {_short(got)}; {_ARTICLES[kind]}{hint}"
    return f"got {_short(got)}; {detail['msg']}"


def _short(got: object) -> str:
    text = repr(got)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def _hint_of_map(path: Path, kind: str, got: object, inner: type[BaseModel] | None) -> str | None:
    """The keys of a map, and the line that holds what was got."""
    if got is None:
        return None
    if kind == "dict_type":
        return f": {path[-1]}: {example.of_variables(got)}"
    if inner is None or kind not in ("model_type", "tuple_type"):
        return None
    line = example.of_item(inner, got)
    if kind == "tuple_type":
        return f": one item per line, each after '- ', such as - {line}" if line else None
    begin = "-" if isinstance(path[-1], int) else f"{path[-1]}:"
    return f" {', '.join(inner.model_fields)}" + (f", such as {begin} {line}" if line else "")


def _hint(key: str, kind: str, got: object) -> str:
    """What to write instead, where that can be known."""
    if got is None:
        return ", or leave the key out"
    if kind == "bool_type" and isinstance(got, str) and got.lower() in ("yes", "on", "no", "off"):
        return f": {key}: {'true' if got.lower() in ('yes', 'on') else 'false'}"
    if kind == "string_type" and isinstance(got, (bool, int, float)):
        return f": write it in quotes, '{str(got).lower() if isinstance(got, bool) else got}'"
    if kind == "string_type" and isinstance(got, list) and got and all(isinstance(word, str) for word in got):
        return f": {key}: {shlex.join(got)}"
    if kind == "tuple_type" and isinstance(got, (str, dict)):
        return ": one item per line, each after '- '"
    if kind in ("int_type", "float_type", "int_from_float") and isinstance(got, str):
        return _number_hint(key, got)
    return ""


def _number_hint(key: str, got: str) -> str:
    unit = {"_min": "minutes", "_gib": "GiB", "_s": "seconds"}
    suffix = next((one for one in unit if key.endswith(one)), None)
    number = _in_unit(suffix, got)
    if number is None:
        return f" of {unit[suffix]}" if suffix else ""
    return f" of {unit[suffix]}: {key}: {number}" if suffix else f": {key}: {number}"


def _in_unit(suffix: str | None, got: str) -> str | None:
    try:
        if suffix in ("_min", "_s"):
            return f"{-(-units.parse_duration_s(got) // (60 if suffix == '_min' else 1))}"
        if suffix == "_gib":
            # Slurm's own K, M, G and T are powers of 1024.
            slurm = re.fullmatch(r"(\d+)([KMGT])", got.strip())
            size = units.parse_bytes(f"{slurm[1]}{slurm[2]}iB" if slurm else got)
            return f"{size / 2**30:g}"
    except ValueError:
        return None
    return got if re.fullmatch(r"-?\d+", got) else None
