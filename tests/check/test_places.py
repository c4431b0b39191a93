"""What `hpcai check` may say of folders that it can or cannot look at."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hpcai.check import places
from hpcai.slurm.answers import NodeInfo

HERE = [NodeInfo(name, "IDLE", hostname=socket.gethostname()) for name in ("n1", "n2")]
AWAY = [NodeInfo("far", "IDLE", hostname="another-machine")]


def test_scratch_of_nodes_on_this_machine_is_looked_at(tmp_path: Path) -> None:
    place = f"{tmp_path}/%n"
    (tmp_path / "n1").mkdir()
    [missing] = places.scratch(place, HERE)
    assert (missing.severity, missing.fix) == ("error", f"mkdir -p {tmp_path}/n2")
    (tmp_path / "n2").mkdir()
    [good] = places.scratch(place, HERE)
    assert good.severity == "ok"
    assert good.what.startswith(f"{place} can be written on n1, n2; ")


def test_scratch_of_other_machines_is_never_ok(tmp_path: Path) -> None:
    for nodes in (AWAY, []):
        [note] = places.scratch(str(tmp_path), nodes)
        assert note.severity == "note"
        assert "was not looked at" in note.what
    ok, note = places.scratch(str(tmp_path), [*HERE, *AWAY])
    assert (ok.severity, note.severity) == ("ok", "note")
    assert note.fix == f"srun -w far df -h {tmp_path}  # tells"


def test_a_mount_point_is_found_whatever_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["/dev/a / ext4 rw 0 0", r"server:/x /srv/Müller\040&\134\011漢 nfs4 rw 0 0"]
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n".join(lines))
    assert places.filesystem(Path("/srv/Müller &\\\t漢/runs")) == "nfs4"
    assert places.filesystem(Path("/srv/Müller")) == "ext4"


def test_no_scratch_is_no_claim() -> None:
    assert [found.severity for found in places.scratch(None, HERE)] == ["note"]


def test_a_runs_folder_that_cannot_be_made(tmp_path: Path) -> None:
    assert places.refuses_writing(tmp_path / "new/folder") is None
    (tmp_path / "file").write_text("")
    found = places.refuses_writing(tmp_path / "file/runs")
    assert found is not None and found.severity == "error"
    assert f"'{tmp_path}/file' is not a folder that you may write to" in found.what


@pytest.mark.parametrize(
    ("blocks", "files", "left", "is_full"),
    [(15, 0, 0, True), (1000, 0, 0, False), (1000, 64, 0, True), (1000, 64, 1, False)],
)
def test_a_runs_folder_on_a_full_disk(
    blocks: int, files: int, left: int, is_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = os.statvfs_result((4096, 4096, 2000, blocks, blocks, files, left, left, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: told)
    found = places.refuses_writing(tmp_path / "runs")
    assert (found is not None and found.what.endswith("cannot be written: its disk is full.")) == is_full
