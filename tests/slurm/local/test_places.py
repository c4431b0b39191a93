"""Names of clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import UsageError
from hpcai.slurm.local import places


@pytest.mark.parametrize("name", ["default", "a", "test-12", "x" * 32])
def test_names(name: str, tmp_path: Path) -> None:
    assert places.place(tmp_path, name).state == tmp_path / "local" / name


@pytest.mark.parametrize("name", ["", "..", "A", "1a", "a b", "a/b", "-a", "x" * 33, "a\n", ".lock"])
def test_what_cannot_be_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster"):
        places.place(tmp_path, name)
