"""What plugstack.conf of a machine says of Pyxis."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.slurm import plugstack


@pytest.mark.parametrize("place", [0, 1])
def test_without_slurm_conf_the_places_of_slurm_are_looked_at(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "etc", tmp_path / "run"]
    monkeypatch.setattr(plugstack, "FOLDERS", folders)
    folders[place].mkdir()
    (folders[place] / "plugstack.conf").write_text("include plugstack.conf.d/*.conf\n")
    (folders[place] / "plugstack.conf.d").mkdir()
    line = "required /opt/pyxis/spank_pyxis.so runtime_path=/nvme/run  # the site's\n"
    (folders[place] / "plugstack.conf.d/pyxis.conf").write_text(line)
    assert plugstack.pyxis_options({}) == {"plugin": "/opt/pyxis/spank_pyxis.so", "runtime_path": "/nvme/run"}


def test_slurm_conf_names_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugstack, "FOLDERS", [tmp_path])
    (tmp_path / "plugstack.conf").write_text("optional spank_pyxis.so\n")
    assert plugstack.pyxis_options({"SLURM_CONF": f"{tmp_path}/other/slurm.conf"}) == {}


def test_a_configless_node_has_its_place_among_them() -> None:
    assert Path("/run/slurm/conf") in plugstack.FOLDERS
