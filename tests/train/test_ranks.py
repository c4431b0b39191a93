"""Two real processes with Horovod over MPI and with torch's DDP over Gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from hpcai.runs.metrics import read_values
from hpcai.runs.record import Run
from hpcai.train.comm import connect
from hpcai.train.single import Single
from hpcai.train.world import ALONE
from tests.train.ranks import HELD_OUT, trained_weights
from tests.train.test_evaluate import accuracy, held_out
from tests.train.test_run import TINY
from tests.waiting import until

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120.0


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def two_ranks(comm: str, argv: Sequence[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes to wait for: mpirun for Horovod, the two ranks themselves for DDP."""
    program = [sys.executable, *argv]
    if comm == "horovod":
        mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
        started = [start([*mpirun, *program], environment())]
    else:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", **meeting}
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
        started = [start(program, {**environment(), **world, **rank}) for rank in ranks]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def start(argv: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv, env=environ, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


@pytest.mark.parametrize("comm", ["horovod", "ddp"])
def test_two_ranks_learn_what_one_process_learns(comm: str, tmp_path: Path) -> None:
    with two_ranks(comm, [str(ROOT / "tests/train/ranks.py"), comm, str(tmp_path)]) as started:
        results = [ended(process) for process in started]
    assert [status for status, _, _ in results] == [0] * len(results), results
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["weights"] == pytest.approx(trained_weights(Single(ALONE)), abs=1e-6)
    for found, count in zip(first["accuracies"], HELD_OUT, strict=True):
        assert found == pytest.approx(asdict(accuracy(Single(ALONE), held_out(count))))


def trainer(data: Path, run_dir: Path, comm: str) -> list[str]:
    tiny = [*TINY, "--batch-size", "3", "--epochs", "3", "--comm", comm]
    return ["-m", "hpcai.train", "--data", str(data), "--run-dir", str(run_dir), *tiny]


def wait_for_step(run_dir: Path, step: int) -> None:
    """Returns when the checkpoint of a step is in place."""

    def is_saved() -> bool:
        lines = read_values(Run(run_dir).paths.metrics())
        return any((line.name, line.step) == ("mark/saved", step) for line in lines)

    until(is_saved, DEADLINE_S, f"the checkpoint of step {step} is there")


def test_a_killed_rank_ends_the_other_and_the_training_goes_on_to_the_same_end(
    tiny_data: Path, tmp_path: Path
) -> None:
    with two_ranks("horovod", trainer(tiny_data, tmp_path / "whole", "horovod")) as [mpirun]:
        status, _, err = ended(mpirun)
        assert status == 0, err
    with two_ranks("ddp", trainer(tiny_data, tmp_path / "killed", "ddp")) as [rank_0, rank_1]:
        wait_for_step(tmp_path / "killed", 4)
        rank_1.send_signal(signal.SIGKILL)
        status, _, err = ended(rank_0)
    assert status == 6
    assert "rank 0: Rank 0 has lost another rank" in err
    assert "Traceback" not in err
    with two_ranks("horovod", trainer(tiny_data, tmp_path / "killed", "horovod")) as [mpirun]:
        status, out, err = ended(mpirun)
        assert status == 0, err
    whole, resumed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    [mark] = [mark for mark in resumed.marks() if mark.name == "resumed"]
    assert f"resumed at step {mark.step}" in out
    assert mark.step in (4, 8)
    assert resumed.metrics()["loss"].values == whole.metrics()["loss"].values
    assert resumed.metrics()["top1"].values == whole.metrics()["top1"].values


@pytest.mark.parametrize("comm", ["horovod", "ddp"])
def test_a_loss_that_is_no_number_ends_both_ranks_unsaved(comm: str, tiny_data: Path, tmp_path: Path) -> None:
    wild = ["--base-lr", "1e30", "--checkpoint-every-steps", "100"]
    with two_ranks(comm, [*trainer(tiny_data, tmp_path, comm), *wild]) as started:
        ends = [ended(process) for process in started]
    assert [status for status, _, _ in ends] == [4] * len(ends), ends
    assert all("The loss is nan in the last steps up to 2: not saved" in err for _, _, err in ends)
    assert not (tmp_path / "outputs").exists()


def test_a_rank_killed_under_horovod_ends_the_whole_job(tiny_data: Path, tmp_path: Path) -> None:
    with two_ranks("horovod", [*trainer(tiny_data, tmp_path, "horovod"), "--epochs", "300"]) as [mpirun]:
        wait_for_step(tmp_path, 4)
        ranks = Path(f"/proc/{mpirun.pid}/task/{mpirun.pid}/children").read_text().split()
        assert len(ranks) == 2
        os.kill(int(ranks[1]), signal.SIGKILL)
        status, _, err = ended(mpirun)
        assert status == 128 + signal.SIGKILL, err
        gone = lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks)  # noqa: E731
        until(gone, DEADLINE_S, "both ranks have ended")


def test_a_slow_rank_under_ddp_is_waited_for_as_long_as_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    comm = connect("ddp", ALONE, torch.device("cpu"), 777.0)
    try:
        cpu = dist.group.WORLD._get_backend(torch.device("cpu"))  # type: ignore[union-attr]
        assert cpu.options._timeout == timedelta(seconds=777)
    finally:
        comm.close()


def test_what_is_wrong_on_both_ranks_is_said_by_both(tmp_path: Path) -> None:
    with two_ranks("ddp", trainer(tmp_path / "nowhere", tmp_path, "ddp")) as ranks:
        ends = [ended(rank) for rank in ranks]
    assert [status for status, _, _ in ends] == [5, 5]
    assert all("holds no data set" in err for _, _, err in ends)


def test_a_checkpoint_that_rank_0_refuses_ends_both_ranks_with_its_status(
    tiny_data: Path, tmp_path: Path
) -> None:
    train = trainer(tiny_data, tmp_path, "ddp")
    for more, status in ((["--epochs", "1"], 0), (["--epochs", "2"], 2)):
        with two_ranks("ddp", [*train, *more]) as ranks:
            ends = [ended(rank) for rank in ranks]
        assert [end[0] for end in ends] == [status, status], ends
    assert "rank 1: This rank is well, but rank 0 could not go on" in ends[1][2]
