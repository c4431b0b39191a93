"""Set-up's decisions: what there is to do, what it costs, what a second time finds."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpcai import processes
from hpcai.errors import StageError, ToolError
from hpcai.launch import environment, machine
from hpcai.launch.environment import Part, SetUp, announcement
from hpcai.slurm.local import cluster, marks
from tests import full_cache
from tests.sleeper import sleeper
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that set-up reads, and a space in its name."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def set_up(checkout: Path, tmp_path: Path) -> SetUp:
    return SetUp(checkout, {"XDG_CACHE_HOME": str(tmp_path / "cache")})


def finish(set_up: SetUp) -> None:
    """Leaves what a set-up leaves that has ended well."""
    (set_up.packages.venv / "bin").mkdir(parents=True)
    set_up.packages.python.symlink_to(sys.executable)
    full_cache.fill(set_up.cache)
    set_up.stamp.write_text(set_up._key())


def nothing() -> None:
    """A part that has nothing to do."""


def titles(set_up: SetUp) -> list[str]:
    return [part.title for part in set_up._parts()]


def test_a_finished_set_up_has_nothing_to_do(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(set_up)
    monkeypatch.setattr(SetUp, "_bring_about", lambda _: pytest.fail("set-up began again"))
    set_up.run()


@pytest.mark.parametrize("lost", ["stamp", "python", "slurm", "azurite"])
def test_what_was_lost_is_noticed(set_up: SetUp, lost: str) -> None:
    finish(set_up)
    assert set_up.stands()
    if lost in ("slurm", "azurite"):
        shutil.rmtree(set_up.cache / lost)
    else:
        {"stamp": set_up.stamp, "python": set_up.packages.python}[lost].unlink()
    assert not set_up.stands()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_to_install_is_noticed(set_up: SetUp, checkout: Path, name: str) -> None:
    finish(set_up)
    with (checkout / name).open("a") as file:
        file.write("# more\n")
    assert not set_up.stands()


def test_another_index_for_torch_is_noticed(set_up: SetUp, checkout: Path, tmp_path: Path) -> None:
    finish(set_up)
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HPCAI_TORCH_INDEX_URL": "https://example.invalid"}
    assert not SetUp(checkout, environ).stands()


def test_a_checkout_that_was_moved_is_set_up_anew(set_up: SetUp, checkout: Path, tmp_path: Path) -> None:
    finish(set_up)
    moved = checkout.rename(tmp_path / "moved")
    assert not SetUp(moved, {"XDG_CACHE_HOME": str(tmp_path / "cache")}).stands()


def test_a_half_filled_cache_is_not_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / ".lock").touch()
    (tmp_path / "azurite" / ".new-1").mkdir(parents=True)
    assert not any(one.is_made(tmp_path) for one in environment.FETCHES.values())


def test_a_second_set_up_waits_for_the_first_and_finds_its_work(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SetUp, "_bring_about", lambda _: pytest.fail("two set-ups ran at once"))
    lock = set_up.cache / "setup.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = threading.Thread(target=set_up.run)
        second.start()
        until(
            lambda: "waits for another set-up" in capsys.readouterr().err, 10, "the second says that it waits"
        )
        finish(set_up)
    second.join(10)
    assert not second.is_alive()


def test_the_plan_of_a_bare_machine(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_root_with_apt", lambda: True)
    monkeypatch.setattr(machine, "missing_debian_packages", lambda: ["g++", "make"])
    assert titles(set_up) == [
        "apt-get install g++ make",
        "virtual environment .venv",
        "Python packages",
        "Horovod 0.28.1, compiled for it",
        "Slurm",
        "Azurite, the storage emulator",
    ]


@pytest.mark.programs
def test_what_only_tests_need_is_fetched_by_itself_and_may_be_missing(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(_: SetUp, name: str) -> None:
        asked.append(name)
        raise ToolError("This machine's apt has no source of Debian.")

    monkeypatch.setattr(SetUp, "_fetch", refuse)
    set_up.fetch_for_tests()
    assert asked == ["tested-slurm", "accounting"]
    assert not {"Slurm 24.11", "slurmdbd 24.11 and MariaDB"} & set(titles(set_up))
    finish(set_up)
    set_up.fetch_for_tests()
    assert len(asked) == 2


@pytest.mark.programs
def test_the_plan_with_a_full_cache_downloads_nothing(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(set_up)
    monkeypatch.setattr(machine, "is_root_with_apt", lambda: False)
    set_up.packages.wheels("torch==2.13.0+cpu").mkdir(parents=True)
    (set_up.cache / "wheels" / f"horovod-0.28.1-{set_up.packages.tag}-2.13.0+cpu-openmpi-4.1.4-x").mkdir()
    parts = set_up._parts()
    assert sum(part.megabytes for part in parts) == 0
    assert [part.title.partition(",")[0] for part in parts[-4:]] == [
        "Python packages",
        "Horovod 0.28.1",
        "Slurm",
        "Azurite",
    ]


@pytest.mark.programs
def test_a_gpu_machine_is_told_of_the_larger_download(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    def megabytes() -> int:
        return sum(part.megabytes for part in set_up._parts())

    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    small = megabytes()
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    assert megabytes() - small == environment.CUDA_MB - environment.CPU_MB


@pytest.mark.parametrize(("gpu", "told"), [(False, True), (True, False)])
def test_the_larger_download_of_an_index_without_cpu_builds_is_told_first(
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gpu: bool,
    told: bool,
) -> None:
    set_up = SetUp(checkout, {"XDG_CACHE_HOME": str(tmp_path)})
    set_up.packages.venv.mkdir()
    monkeypatch.setattr(machine, "has_gpu", lambda: gpu)
    monkeypatch.setattr(SetUp, "_parts", lambda _: [])
    set_up.run()
    words = f"{environment.CUDA_MB - environment.CPU_MB} MB more if pip's index has no CPU build"
    assert (words in capsys.readouterr().err) is told


def test_the_announcement() -> None:
    parts = [Part("a", 100, 60, nothing), Part("b", 20, 60, nothing)]
    assert announcement(Path("/co"), Path("/cache"), parts).splitlines() == [
        "hpcai: sets up /co, with the cache /cache",
        "hpcai: this downloads about 120 MB and takes about 2 minutes; later runs start at once",
    ]
    assert "downloads nothing and takes about 5 s" in announcement(
        Path("/co"), Path("/cache"), [Part("c", 0, 5, nothing)]
    )


def test_a_failure_leaves_no_stamp_and_names_the_next_step(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ToolError("no", next_step="Do this.")

    set_up.packages.venv.mkdir()
    set_up.stamp.write_text("from another time")
    monkeypatch.setattr(SetUp, "_parts", lambda _: [Part("one", 0, 1, fail)])
    with pytest.raises(ToolError, match=r"no\nDo this\."):
        set_up.run()
    assert not set_up.stamp.exists()


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part("one", 100, 1, lambda: pytest.fail("it began"), installed_mb=400)
    monkeypatch.setattr(SetUp, "_parts", lambda _: [part])
    monkeypatch.setattr(machine, "free_mb", lambda _: 500)
    with pytest.raises(StageError, match=r"needs about 530 MB on the disk of '.*', where 500 MB are free\."):
        set_up.run()


def test_a_disk_with_room_is_written_to(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up.packages.venv.mkdir()
    monkeypatch.setattr(SetUp, "_parts", lambda _: [Part("one", 100, 1, nothing, installed_mb=400)])
    monkeypatch.setattr(machine, "free_mb", lambda _: 530)
    set_up.run()
    assert set_up.stamp.exists()


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(errno.ENOSPC, 7, "a larger disk"), (errno.EROFS, 2, "is yours"), (errno.EACCES, 2, "is yours")],
)
def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    status: int,
    words: str,
) -> None:
    def refuse(_: SetUp) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "wheels"))

    monkeypatch.setattr(SetUp, "run", refuse)
    assert environment.main([], {"XDG_CACHE_HOME": str(tmp_path)}) == status
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"hpcai: Could not write '{tmp_path}/wheels': {os.strerror(number)}."
    assert words in second


def test_another_error_of_the_system_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: SetUp) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", "x")

    monkeypatch.setattr(SetUp, "run", fail)
    with pytest.raises(FileNotFoundError):
        environment.main([], {"XDG_CACHE_HOME": str(tmp_path)})


def test_what_a_killed_set_up_left_is_removed(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [set_up.cache / "build-1", set_up.cache / "wheels" / ".new-2"]
    for folder in left:
        folder.mkdir(parents=True)
    set_up.packages.venv.mkdir()
    monkeypatch.setattr(SetUp, "_parts", lambda _: [])
    set_up.run()
    assert not any(folder.exists() for folder in left)


@pytest.mark.programs
def test_clean_ends_the_jobs_of_this_checkout_only(tmp_path: Path) -> None:
    mine, other = (tmp_path / name / ".venv" / "bin" / "python" for name in ("mine", "other"))
    started = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, "HPCAI_PYTHON": str(python)})
        for python in (mine, other)
    ]
    try:
        until(lambda: processes.with_variable("HPCAI_PYTHON", str(mine)), 10, "the job is seen")
        environment.clean(tmp_path / "mine", tmp_path / "cache")
        assert started[0].wait(10) == -15
        assert started[1].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.programs
def test_clean_from_a_shell_inside_a_job_ends_the_job_and_not_the_shell(tmp_path: Path) -> None:
    python = str(tmp_path / ".venv" / "bin" / "python")
    code = (
        "from pathlib import Path; from hpcai.launch import environment; "
        f"environment.clean(Path({str(tmp_path)!r}), Path({str(tmp_path / 'cache')!r}))"
    )
    shell = ["sh", "-c", '"$0" -c "$1"; echo "the shell goes on"', sys.executable, code]
    with sleeper(HPCAI_PYTHON=python) as job:
        env = {**os.environ, "HPCAI_PYTHON": python}
        done = subprocess.run(shell, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "the shell goes on\n"), done.stderr
        assert job.wait(10) == -15


@pytest.mark.programs
def test_clean_ends_clusters_whose_folder_was_deleted(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    mark = {marks.STATE_MARK: str(cache / "local" / "gone")}
    daemon = subprocess.Popen(["sleep", "60"], env={**os.environ, **mark})
    try:
        until(lambda: cluster.leftovers(cache=cache) == ["gone"], 10, "the leftover is seen")
        environment.clean(tmp_path, cache)
        assert daemon.wait(10) < 0
    finally:
        daemon.kill()
        daemon.wait()
