"""Taking programs out of packages: what is found, what is patched, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import ToolError
from hpcai.slurm.local import prefix, relocate


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("slurmctld_22.05.8-4+deb12u3_amd64", "22.05.8"),
        ("slurmctld_21.08.5-2ubuntu1_amd64", "21.08.5"),
        ("slurmctld_1%3a24.11.5-4_arm64", "24.11.5"),
    ],
)
def test_version(package: str, version: str) -> None:
    assert prefix.version_in(["munge_0.5.15-2_amd64", package], "slurmctld") == version


def test_the_path_of_pmix_is_replaced_within_its_length(tmp_path: Path) -> None:
    path = b"/usr/lib/x86_64-linux-gnu/pmix2/lib"
    plugin = tmp_path / "mpi_pmix_v4.so"
    plugin.write_bytes(b"before\0" + path + b"\0%s/\0libpmix.so\0/usr/lib/other\0")
    relocate._find_pmix_beside(plugin)
    new = b"$ORIGIN/.."
    padding = b"\0" * (len(path) - len(new))
    assert plugin.read_bytes() == b"before\0" + new + padding + b"\0%s/\0libpmix.so\0/usr/lib/other\0"


def test_libraries_are_found_by_the_names_they_are_loaded_by(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "lib" / "x86_64-linux-gnu"
    (folder / "special").mkdir(parents=True)
    (folder / "liba.so.1.2").write_text("a")
    (folder / "liba.so.1").symlink_to("liba.so.1.2")
    (folder / "libb.so.1").symlink_to("/usr/lib/x86_64-linux-gnu/liba.so.1")
    (folder / "special" / "liba.so.1").write_text("for special processors")
    (folder / "libgone.so").symlink_to("nowhere")
    found = relocate._index(tmp_path)
    assert found == {
        "liba.so.1": folder / "liba.so.1.2",
        "liba.so.1.2": folder / "liba.so.1.2",
        "libb.so.1": folder / "liba.so.1.2",
    }


def test_packages_without_slurm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="hold no sbatch"):
        relocate.relocate(tmp_path / "root", tmp_path / "new", tmp_path / "target", Path("patchelf"))


@pytest.mark.real
def test_a_second_time_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpcai.specs.site import cache_dir

    first = prefix.ensure(cache_dir())
    monkeypatch.setenv("PATH", "/nowhere")
    assert prefix.ensure(cache_dir()) == first
    assert first.version().split(".")[0].isdigit()
