"""What the fields of all kinds of specs are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from hpcai.specs.mistakes import Contradiction

Item = TypeVar("Item")


class Model(BaseModel):
    """Frozen data that takes no other key, type or number than it names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def wrong(message: str) -> PydanticCustomError:
    """The error of a validator, with its own words."""
    # Braces would be read as a template.
    return PydanticCustomError("wrong", "{message}", {"message": message})


def matches(pattern: str, allowed: str) -> AfterValidator:
    """Text that is the pattern from beginning to end; `allowed` says in words which that is."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise wrong(f"got {text!r}; {allowed}")
        return text

    return AfterValidator(check)


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text or "\n" in text:
        raise wrong(f"got {text!r}; an absolute path in one line")
    return text


_SHELL = matches(r"[^\x00]*[^\x00\s][^\x00]*", "a shell command")
Shell = Annotated[str, _SHELL]
Name = Annotated[
    str,
    matches(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit",
    ),
]
Variable = Annotated[str, matches(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name: letters, digits and '_'")]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Many = Annotated[tuple[Item, ...], Field(strict=False)]


def refuse(contradictions: Iterable[Contradiction]) -> None:
    """Raises the one error that carries what in valid fields cannot be meant together, if anything."""
    found = list(contradictions)
    if found:
        told = "; ".join(one.message for one in found)
        raise PydanticCustomError("contradictions", "{text}", {"text": told, "contradictions": found})


def mistakes_of(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with each field, in its validator's words; under "" what cannot be meant together."""
    try:
        model.model_validate(dict(data))
    except ValidationError as error:
        return {str((each["loc"] or ("",))[0]): each["msg"] for each in error.errors(include_url=False)}
    return {}
