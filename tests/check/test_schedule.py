from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from hpcai.check.schedule import check_schedule
from hpcai.errors import SlurmError
from hpcai.slurm import scrontab
from hpcai.slurm.client import SlurmClient

SLURM = cast(SlurmClient, object())


def answer(error: SlurmError | None) -> Callable[[object], str]:
    def read(_: object) -> str:
        if error is not None:
            raise error
        return ""

    return read


def test_a_slurm_without_scrontab_is_an_error_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrontab, "read", answer(SlurmError("scrontab is disabled.", next_step="Ask.")))
    (found,) = check_schedule("@daily", SLURM)
    assert (found.id, found.severity, found.where) == ("schedule-impossible", "error", "schedule")
    assert (found.what, found.fix) == ("scrontab is disabled.", "Ask.")
    assert list(check_schedule(None, SLURM)) == [] == list(check_schedule("@daily", None))


def test_one_that_has_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrontab, "read", answer(None))
    assert list(check_schedule("@daily", SLURM)) == []
