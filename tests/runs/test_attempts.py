"""Attempts joined with their ends; each case is a file in tests/cases/runs/attempts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcai.runs.attempts import CAUSES, RunAttempt, join

CASES = Path(__file__).parents[1] / "cases" / "runs" / "attempts"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_attempts_are_joined_with_their_ends(case: Path) -> None:
    given = json.loads(case.read_text())
    assert join(given["attempts"], given["ends"]) == [
        RunAttempt(**expected) for expected in given["expected"]
    ]


def test_every_cause_is_documented() -> None:
    words = (Path(__file__).parents[2] / "docs" / "run-record.md").read_text()
    assert [cause for cause in CAUSES if f"`{cause}`" not in words] == []
