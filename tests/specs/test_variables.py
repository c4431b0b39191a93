"""Variables that are named like hpcai's own and that nobody reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcai.specs.variables import known_variables, unheeded

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HPCAI_RUNS_ROT", "HPCAI_RUNS_ROOT"),
        ("HPCAI_NODES", "HPCAI_JOB_NODES"),
        ("HPCAI_TIME_LIMIT", "HPCAI_JOB_TIME_MIN"),
        ("HPCAI_WEATHER", None),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_the_one_that_is_meant(
    name: str, meant: str | None
) -> None:
    assert list(unheeded({name: "1", "HOME": "/"})) == [(name, meant)]


def test_every_variable_that_the_code_names_is_known() -> None:
    files = [*(ROOT / "hpcai").rglob("*.py"), *(ROOT / "templates").rglob("*.j2")]
    named = {
        name
        for file in files
        for name in re.findall(r"(?<![A-Z_])HPCAI_[A-Z_]*[A-Z](?![A-Z_])", file.read_text(encoding="utf-8"))
    }
    assert list(unheeded(dict.fromkeys(named, ""))) == []
    assert {name for name in known_variables() if name.startswith("HPCAI_")} <= named
