"""The part of a node that a job gets: never more than its GPUs' part of cores and memory, and no mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.catalog.profiles import Profile, profile, profiles
from hpcai.catalog.share import memory_gib, share
from hpcai.catalog.sizes import VmSize, vm_size

H100 = profile("ND96isr_H100_v5")
SIZE = vm_size("ND96isr_H100_v5", {"XDG_CONFIG_HOME": "/nonexistent"})
WITH_GPUS = [name for name, known in profiles().items() if known.gpus_per_node]


@given(st.sampled_from(WITH_GPUS), st.integers(1, 8))
def test_parts_of_a_node_fit_on_it_together(name: str, gpus: int) -> None:
    known, size = profile(name), vm_size(name)
    whole = known.gpus_per_node or 0
    part = share(known, size, gpus)
    if gpus >= whole:
        assert part is known
        return
    jobs = whole // gpus
    assert (part.ntasks_per_node or 0) * (part.cpus_per_task or 0) * jobs <= (size.vcpus or 0)
    assert (part.ntasks_per_node, part.gpus_per_node) == (gpus, gpus)
    assert part.cpu_bind == ("none" if known.cpu_bind == "none" else None)
    if size.memory_gib is None:
        assert part.mem_gib is None
    else:
        assert 0 < (part.mem_gib or 0) * jobs <= size.memory_gib * 0.95
    assert (part.env, part.mounts) == (known.env, known.mounts)


@pytest.mark.parametrize("gpus", [None, 0, 8, 9])
def test_a_whole_node_stays_as_it_is(gpus: int | None) -> None:
    assert share(H100, SIZE, gpus) is H100


def test_a_size_without_gpus_has_no_part_by_gpus() -> None:
    known = profile("HB176rs_v4")
    assert share(known, vm_size("HB176rs_v4"), 1) is known


def test_what_is_not_known_of_the_size_is_left_out() -> None:
    part = share(H100, None, 2)
    assert (part.ntasks_per_node, part.cpus_per_task, part.mem_gib) == (2, 12, None)
    assert share(H100, VmSize("x"), 2).mem_gib is None
    assert share(Profile("x", gpus_per_node=4), SIZE, 1).cpus_per_task is None


def test_a_task_never_gets_more_cores_than_its_part_of_the_node() -> None:
    greedy = replace(H100, cpus_per_task=20)
    assert share(greedy, SIZE, 1).cpus_per_task == 12


@pytest.mark.parametrize(
    ("size_gib", "part", "whole", "expected"),
    [(1900, 1, 8, 225), (8, 1, 2, 3), (2, 1, 4, 1), (None, 1, 2, None)],
)
def test_memory_is_what_slurm_has_to_give(
    size_gib: float | None, part: int, whole: int, expected: int | None
) -> None:
    assert memory_gib(VmSize("x", memory_gib=size_gib), part, whole) == expected
