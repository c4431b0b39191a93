from __future__ import annotations

import pytest

from hpcai.catalog.profiles import Profile, profile, profiles
from hpcai.errors import NotFoundError


@pytest.fixture(params=sorted(profiles()))
def known(request: pytest.FixtureRequest) -> Profile:
    return profile(request.param)


def test_every_figure_of_a_profile_has_a_dated_source(known: Profile) -> None:
    figures = ("ntasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gib", "cpu_bind", "mounts")
    stated = {key for key in figures if getattr(known, key) not in (None, ())}
    assert set(known.sources) == stated | {f"env.{name}" for name in known.env}
    assert all(source.rstrip(")").rsplit("(", 1)[1][:2] == "20" for source in known.sources.values())


def test_a_mask_names_one_place_per_task(known: Profile) -> None:
    if known.cpu_bind is None:
        return
    kind, masks = known.cpu_bind.split(":")
    assert kind == "mask_cpu"
    assert len(masks.split(",")) == known.ntasks_per_node
    cores = [int(mask, 16).bit_count() for mask in masks.split(",")]
    assert all(count >= (known.cpus_per_task or 1) for count in cores)


def test_the_folder_of_the_topology_file_is_mounted(known: Profile) -> None:
    topology = known.env.get("NCCL_TOPO_FILE")
    assert topology is None or any(topology.startswith(mount.split(":")[0] + "/") for mount in known.mounts)


def test_an_unknown_size_is_not_found_with_the_nearest() -> None:
    with pytest.raises(
        NotFoundError, match=r"'ND96isr_H100'\.\n.*\nDid you mean 'Standard_ND96isr_H100_v5'\?"
    ):
        profile("ND96isr_H100")
