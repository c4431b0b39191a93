"""What the fields of all kinds of specs are made of."""

from __future__ import annotations

import re

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


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
