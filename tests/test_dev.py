"""`./dev` as a person calls it: wrong words, no Python, paths with spaces, any folder, nothing left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.launch.environment import SetUp
from tests import full_cache

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what set-up needs of this checkout, below a folder with a space in its name."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in ("dev", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "hpcai", folder / "hpcai", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def set_up(checkout: Path, tmp_path: Path) -> SetUp:
    """The state that a set-up leaves that has ended well, with an environment that has no packages."""
    environ = {"XDG_CACHE_HOME": str(tmp_path / "a cache")}
    done = SetUp(checkout, environ)
    (checkout / "benchmarks").mkdir()
    venv.create(done.packages.venv, symlinks=True)
    full_cache.fill(done.cache)
    done.stamp.write_text(done._key())
    return done


def dev(
    checkout: Path, *words: str, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(checkout.parent / "a cache"), **environ}
    return subprocess.run(
        ["sh", checkout / "dev", *words],
        cwd=cwd or "/",
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [[], ["tset"], ["setup", "now"], ["clean", "--all"], ["bench", "nothing"], ["bench", "one", "two"]],
)
def test_wrong_words_end_with_2_and_what_is_allowed_before_anything_is_set_up(
    checkout: Path, words: list[str]
) -> None:
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "one.py").touch()
    # A Python that cannot set anything up, should it be asked to.
    done = dev(checkout, *words, HPCAI_SETUP_PYTHON="/bin/false")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("dev: ")
    assert not (checkout.parent / "a cache").exists()
    if words[1:]:
        assert words[1] in done.stderr
    else:
        assert "usage: ./dev demo | test | check" in done.stderr


def test_a_cache_that_moves_with_the_folder_is_refused(checkout: Path) -> None:
    done = dev(checkout, "setup", XDG_CACHE_HOME="cache")
    assert done.returncode == 2
    assert "not 'cache/hpcai': set XDG_CACHE_HOME" in done.stderr


def test_a_cache_where_nothing_can_be_written_is_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    done = dev(checkout, "setup", XDG_CACHE_HOME=str(tmp_path / "a file"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"dev: Cannot write to the cache '{tmp_path}/a file/hpcai'.",
        "dev: Set XDG_CACHE_HOME to a folder that you may write to, then try again.",
    ]


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_names_every_command(checkout: Path, word: str) -> None:
    done = dev(checkout, word)
    assert done.returncode == 0
    text = (checkout / "dev").read_text()
    commands = text[text.index("case $command in") :].partition(")")[0].split("in\n")[1].split(" | ")
    assert len(commands) == 7
    assert all(f"\n  {command}" in done.stdout for command in commands)
    assert "removes .venv and .hpcai, where ./dev demo's run records lie" in done.stdout


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[str]:
    """A PATH with what a bare system has, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "dirname", "mkdir", "rm", "cat", "id"):
        (folder / name).symlink_to(str(shutil.which(name)))
    yield str(folder)


def test_no_python_is_told_in_two_lines(checkout: Path, tools: str) -> None:
    done = dev(checkout, "setup", PATH=tools)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "dev: no Python 3.10 or newer on PATH",
        "dev: Install python3, or set HPCAI_SETUP_PYTHON to one, then try again.",
    ]


def test_an_old_python_is_passed_over(checkout: Path, tools: str) -> None:
    old = Path(tools, "python3")
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert dev(checkout, "setup", PATH=tools).returncode == 2
    named = dev(checkout, "setup", PATH=tools, HPCAI_SETUP_PYTHON=str(old))
    assert named.stderr == f"dev: HPCAI_SETUP_PYTHON={old} is no Python 3.10 or newer\n"


def test_a_finished_set_up_is_found_from_any_folder_and_touches_nothing(
    set_up: SetUp, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in set_up.packages.checkout.rglob("*") if path.is_file()}
    for cwd in (Path("/"), tmp_path, set_up.packages.checkout / "hpcai"):
        done = dev(set_up.packages.checkout, "setup", cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    changed = {path: path.stat().st_mtime_ns for path in before}
    assert changed == before


def test_another_checkout_in_the_current_folder_is_not_taken_for_this_one(
    set_up: SetUp, tmp_path: Path
) -> None:
    """Python looks for modules in the current folder first."""
    other = tmp_path / "other"
    (other / "hpcai").mkdir(parents=True)
    (other / "hpcai" / "__init__.py").write_text("raise SystemExit('the wrong hpcai')")
    assert dev(set_up.packages.checkout, "setup", cwd=other).returncode == 0


def test_everything_is_written_to_the_checkout_or_the_cache(set_up: SetUp) -> None:
    program = set_up.packages.checkout / "benchmarks" / "places.py"
    names = ["PIP_CACHE_DIR", "MPLCONFIGDIR", "npm_config_cache", "HPCAI_RUNS_ROOT"]
    names += [] if os.geteuid() == 0 else ["TMPDIR"]
    program.write_text(f"import os\nfor name in {names}: print(os.environ[name])\n")
    done = dev(set_up.packages.checkout, "bench", "places", HPCAI_RUNS_ROOT="", PYTHONPATH="/nowhere")
    assert done.returncode == 0, done.stderr
    head, *places = done.stdout.splitlines()
    assert head == "== places.py"
    inside = (str(set_up.packages.checkout), str(set_up.cache))
    assert [place for place in places if not place.startswith(inside)] == []
    assert len(places) == len(names)


def test_a_failing_program_s_status_is_that_of_dev(set_up: SetUp) -> None:
    program = set_up.packages.checkout / "benchmarks" / "fails.py"
    program.write_text("raise SystemExit(7)")
    assert dev(set_up.packages.checkout, "bench", "fails").returncode == 7


def test_clean_removes_what_belongs_to_the_checkout_and_keeps_the_cache(set_up: SetUp) -> None:
    (set_up.packages.checkout / ".hpcai").mkdir()
    done = dev(set_up.packages.checkout, "clean")
    assert (done.returncode, done.stderr) == (0, "")
    left = {path.name for path in set_up.packages.checkout.iterdir()}
    assert left - {"__pycache__"} == {"benchmarks", "dev", "hpcai", "pyproject.toml", "constraints.txt"}
    assert set_up.cache.is_dir()


def test_clean_with_cache_removes_the_cache_too(set_up: SetUp) -> None:
    neighbour = set_up.cache.parent / "of another program"
    neighbour.mkdir()
    assert dev(set_up.packages.checkout, "clean", "--cache").returncode == 0
    assert not set_up.cache.exists()
    assert neighbour.is_dir()


def test_dev_is_short_and_plain_shell() -> None:
    text = (ROOT / "dev").read_text()
    assert len(text.splitlines()) <= 100
    assert os.access(ROOT / "dev", os.X_OK)
    for shell in filter(None, map(shutil.which, ("dash", "bash", "busybox"))):
        words = [shell, "sh"] if shell.endswith("busybox") else [shell]
        subprocess.run([*words, "-n", ROOT / "dev"], check=True, timeout=10)


def test_ci_runs_the_checkouts_own_dev_test_from_any_folder(tmp_path: Path) -> None:
    checkout = tmp_path / "my checkout"
    (checkout / ".ci").mkdir(parents=True)
    program = Path(shutil.copy(ROOT / ".ci" / "run", checkout / ".ci"))
    (checkout / "dev").write_text("printf '%s\\n' \"$@\"; exit 7\n")
    done = subprocess.run([program], cwd="/", capture_output=True, text=True, timeout=10, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("test\n", "", 7)


def test_set_up_imports_nothing_that_must_be_installed_first() -> None:
    """-I -S: no site-packages, as on a bare machine."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import hpcai.launch.environment"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, ROOT], check=True, timeout=30)
