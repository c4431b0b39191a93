"""Which signal an exit status stands for."""

from __future__ import annotations

import pytest

from hpcai.runs.signals import of_status


@pytest.mark.parametrize(
    ("status", "name"),
    [(None, None), (0, None), (3, None), (128, None), (137, "SIGKILL"), (143, "SIGTERM"), (255, None)],
)
def test_the_signal_of_a_status(status: int | None, name: str | None) -> None:
    assert of_status(status) == name
