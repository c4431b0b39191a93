"""Numbers, ranks and patterns on the command line."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number within limits; `nan` and `inf`, which fit every limit or no work, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def ranks(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Ranks of a job, `3`, `0-3,7` or `all`, as a tuple that is empty for all."""
    from hpcai.units import parse_array

    if value is None or value == "all":
        return None if value is None else ()
    try:
        found, limit = parse_array(value)
    except ValueError:
        found, limit = [], None
    if not found or limit is not None:
        raise click.BadParameter(f"got {value!r}; a rank, several such as '0-3,7', or 'all'.")
    return tuple(found)


def pattern(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> re.Pattern[str] | None:
    """A regular expression of Python's, compiled."""
    if value is None:
        return None
    try:
        with warnings.catch_warnings():
            # What a later Python may read otherwise concerns nobody who looks into a log.
            warnings.simplefilter("ignore")
            return re.compile(value)
    except re.error as error:
        at = "" if error.pos is None else f" at character {error.pos + 1}"
        raise click.BadParameter(f"{value!r} is no regular expression: {error.msg}{at}.") from error
    except (OverflowError, RecursionError) as error:
        raise click.BadParameter(f"{value!r} is no regular expression: it is too large.") from error
