from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from hpcai.errors import NotFoundError, StageError, ToolError, UnreachableError, UsageError
from hpcai.train.comm import connect, require_size, texts_by_rank, together
from hpcai.train.ddp import meeting_point
from hpcai.train.evaluate import average_running_statistics
from hpcai.train.single import Single
from hpcai.train.world import ALONE, World


def world(rank: int, size: int, local_size: int = 1) -> World:
    return World(rank, size, rank % local_size, local_size, "n1", "slurm")


class SecondOfTwo(Single):
    """Stands in for rank 1 of 2, whose rank 0 sends `others`."""

    def __init__(self, *others: Tensor) -> None:
        super().__init__(world(1, 2))
        self.others = list(others)

    def sum(self, values: Tensor) -> Tensor:
        return values + self.others.pop(0)


def test_one_process_is_all_ranks() -> None:
    comm = connect("auto", ALONE, torch.device("cpu"))
    assert comm.name == "single"
    assert comm.sum(torch.tensor([3.0])).tolist() == [3.0]
    assert comm.broadcast_object({"a": 1}) == {"a": 1}
    assert texts_by_rank(comm, "n1") == ["n1"]


def test_single_refuses_to_train_the_same_twice() -> None:
    with pytest.raises(UsageError, match="would train 2 times the same"):
        connect("single", world(0, 2), torch.device("cpu"))


def test_a_library_that_sees_another_world_is_named() -> None:
    require_size("Horovod", 2, world(0, 2))
    with pytest.raises(ToolError, match=r"started 2 processes, but Horovod sees 1(.|\n)*srun --mpi=pmix"):
        require_size("Horovod", 1, world(0, 2))


def test_what_fails_on_one_rank_fails_on_all() -> None:
    def fail() -> None:
        raise NotFoundError("no data here")

    assert together(SecondOfTwo(torch.tensor([0, 0])), lambda: 5) == 5
    for kind in (UsageError, ToolError, NotFoundError, StageError):
        with pytest.raises(kind, match="rank 0 could not go on"):
            together(SecondOfTwo(torch.tensor([kind.exit_status, 0])), lambda: 5)
    with pytest.raises(NotFoundError, match="no data here"):
        together(SecondOfTwo(torch.tensor([0, 0])), fail)


def test_texts_are_gathered_by_rank() -> None:
    theirs = torch.zeros(2, 256, dtype=torch.int64)
    theirs[0, :3] = torch.tensor(list(b"abc"))
    assert texts_by_rank(SecondOfTwo(theirs), "ünï") == ["abc", "ünï"]


def test_running_statistics_become_their_mean() -> None:
    norm = torch.nn.BatchNorm2d(2)
    average_running_statistics(SecondOfTwo(torch.tensor([4.0, 0.0, 3.0, 1.0])), norm)
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.tolist() == [2, 0]
    assert norm.running_var.tolist() == [2, 1]


def test_all_ranks_of_a_job_meet_at_the_same_place() -> None:
    slurm = {"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.4"}
    address, port = meeting_point(world(0, 2), slurm)
    assert address == "10.0.0.4"
    assert 10000 <= port < 30000
    assert meeting_point(world(1, 2), slurm) == (address, port)
    assert meeting_point(world(0, 2), {**slurm, "SLURM_JOB_ID": "13"})[1] != port
    assert meeting_point(world(0, 2), {"MASTER_ADDR": "h", "MASTER_PORT": "77"}) == ("h", 77)
    assert meeting_point(world(0, 2), {})[0] == "n1"
    with pytest.raises(UsageError, match="MASTER_PORT is 'x'"):
        meeting_point(world(0, 2), {"MASTER_PORT": "x"})


@pytest.mark.parametrize("name", ["SLURM_LAUNCH_NODE_IPADDR", "MASTER_ADDR"])
@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("::ffff:10.0.0.4", "10.0.0.4"),
        ("fd00::4", "[fd00::4]"),
        ("[fd00::4]", "[fd00::4]"),
        ("node-1.example", "node-1.example"),
    ],
)
def test_the_meeting_point_can_stand_in_a_url(name: str, given: str, address: str) -> None:
    assert meeting_point(world(0, 2), {name: given, "MASTER_PORT": "77"}) == (address, 77)


@pytest.mark.parametrize("given", ["::1", "::ffff:127.0.0.1"])
def test_ranks_meet_at_an_ipv6_address(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", given)
    monkeypatch.setenv("MASTER_PORT", "0")
    comm = connect("ddp", ALONE, torch.device("cpu"))
    assert comm.sum(torch.tensor([3.0])).tolist() == [3.0]
    comm.close()


def test_a_meeting_point_that_is_no_place_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "a:b")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(UnreachableError, match=r"could not meet the others at \[a:b\]:1"):
        connect("ddp", ALONE, torch.device("cpu"))


def test_srun_without_pmi_is_said_before_mpi_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PMI")]:
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match=r"started 2 tasks without PMI(.|\n)*--mpi=pmix"):
        connect("horovod", world(0, 2), torch.device("cpu"))
