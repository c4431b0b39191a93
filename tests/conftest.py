"""What every test may use: goldens compared by whole bytes, and the embedded cluster's fixtures.

A test without the mark `programs`, `real` or `long` is pure: it may start no process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A shell starts what is to run in the background with SIGINT ignored, and programs started from there inherit
# that: also those whose Ctrl-C a test tries. A handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Config files of whoever runs the tests are not theirs.
os.environ |= {"HPCAI_SITE_CONFIG": "/nonexistent/config.yaml", "HPCAI_CONFIG_HOME": "/nonexistent"}

pytest_plugins = ["tests.real_cluster", "tests.container_cluster"]

settings.register_profile("half", max_examples=50)
settings.load_profile("half")


_STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
_is_pure = False


def _keep_pure(event: str, _: tuple[object, ...]) -> None:
    if _is_pure and event in _STARTS_A_PROCESS:
        raise AssertionError(f"a pure test starts a process ({event}): mark it 'programs' or 'real'")


sys.addaudithook(_keep_pure)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _is_pure
    _is_pure = not any(item.get_closest_marker(name) for name in ("programs", "real", "long"))
    try:
        return (yield)
    finally:
        _is_pure = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """After the last test of a session ends what others have shared, such as the cluster."""
    global _is_pure
    _is_pure = False


# Files that take longest: begun last, one of them would keep one worker busy after all others have ended.
_LONG = ("tests/main_job/test_main_job.py", "tests/train/test_ranks.py", "tests/cli/test_jobs.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Tests with servers wait for Slurm more than they compute: two workers share a processor."""
    cores = len(os.sched_getaffinity(0))
    return cores if "not real" in config.option.markexpr else 2 * cores


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with servers come first, the longest before the others; those that only compute fill the end."""
    real = {item.path for item in items if item.get_closest_marker("real")}

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.partition("::")[0]
        return _LONG.index(name) if name in _LONG else len(_LONG) + (item.path not in real)

    items.sort(key=rank)


# What tells a program that a launcher has started it.
_OF_LAUNCHERS = (
    "HOROVOD_RANK",
    "OMPI_COMM_WORLD_RANK",
    "LOCAL_WORLD_SIZE",
    "SLURM_NTASKS",
    "PMI_RANK",
    "PMIX_RANK",
)
_getenv = ctypes.CDLL(None).getenv


@pytest.fixture(autouse=True)
def _no_launcher_is_left_behind() -> Iterator[None]:
    """MPI's library writes into the environment that programs of later tests inherit, past os.environ."""
    yield
    assert not [name for name in _OF_LAUNCHERS if _getenv(name.encode())]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Rewrite goldens instead of comparing.")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """`golden(path, text)` fails unless the file holds exactly this text."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        assert path.is_file(), f"{path} is missing; pytest --update-golden writes it"
        assert path.read_bytes().decode() == text, f"{path} differs; pytest --update-golden rewrites it"

    return compare


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter: pytest closes its own to them whenever a session starts."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(
    params=["plain", "with space", 'it\'s "quoted"', "100%t %% $HOME `x` #a", "ünï漢", "-dash;&|*?[a]"],
    ids=["plain", "space", "quotes", "signs", "unicode", "shell"],
)
def weird_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder whose name needs care."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    return folder
