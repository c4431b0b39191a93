"""Sample records for the tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.runs.record import Run
from tests.report import samples


@pytest.fixture
def runs_root(tmp_path: Path) -> Path:
    return tmp_path / "runs of a person"


@pytest.fixture
def two_nodes(runs_root: Path) -> Run:
    return samples.trained_run(runs_root, "digits-2node-20261118-110640", 2, 262.0)


@pytest.fixture
def one_node(runs_root: Path) -> Run:
    begin = samples.BEGIN + 600
    return samples.trained_run(runs_root, "digits-1node-20261118-111640", 1, 171.0, begin=begin)


@pytest.fixture
def resumed(runs_root: Path) -> Run:
    return samples.resumed_run(runs_root, "digits-resumed-20261118-112640")


@pytest.fixture
def plain(runs_root: Path) -> Run:
    return samples.plain_run(runs_root, "solver-20261118-113640")


@pytest.fixture
def damaged(runs_root: Path) -> Run:
    return samples.damaged_run(runs_root, "digits-damaged-20261118-114640")
