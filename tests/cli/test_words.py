"""Times, sizes and ends in words."""

from __future__ import annotations

import pytest

from hpcai.cli import words
from hpcai.launch.ends import Outcome


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (4.23, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (131, "2 min 11 s"),
        (3599, "59 min 59 s"),
        (3601, "1 h"),
        (11100, "3 h 5 min"),
        (86400, "1 d"),
        (200000, "2 d 7 h"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("instant", "ending"),
    [(100.0, "(now)"), (95.0, "(5 s ago)"), (-31.0, "(2 min 11 s ago)"), (140.0, "(in 40 s)")],
)
def test_moment(instant: float, ending: str) -> None:
    text = words.moment(instant, 100.0)
    assert text is not None and text.endswith(ending)
    assert words.moment(None, 100.0) is None


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("COMPLETED", "completed", 0, None), "completed"),
        (Outcome("FAILED", "failed", 3, None), "failed with status 3"),
        (Outcome("FAILED", "failed", 137, None), "failed with status 137 (SIGKILL)"),
        (Outcome("FAILED", "failed", 0, 9), "failed: signal 9 (SIGKILL)"),
        (Outcome("NODE_FAIL", "node_failure", 0, None), "lost a node"),
        (Outcome("TIMEOUT", "time_limit", 0, 15), "reached its time limit"),
    ],
)
def test_ended(outcome: Outcome, text: str) -> None:
    assert words.ended(outcome) == text
