"""The run profiles: every figure is stated somewhere, and fits the size that it is for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hpcai.catalog.profiles import Profile, profile, profiles
from hpcai.catalog.sizes import vm_size
from hpcai.errors import NotFoundError
from hpcai.specs.load import load_text
from hpcai.specs.mistakes import UnknownNames

# Names in the manuals of NCCL 2.30, UCX 1.19, Open MPI 5, SHARP 3, ROCm 6.4 and NVIDIA's container toolkit.
VARIABLES = {
    "CUDA_DEVICE_ORDER",
    "HSA_NO_SCRATCH_RECLAIM",
    "MELLANOX_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "OMPI_MCA_coll_hcoll_enable",
    "NCCL_COLLNET_ENABLE",
    "NCCL_DMABUF_ENABLE",
    "NCCL_GRAPH_FILE",
    "NCCL_IB_DISABLE",
    "NCCL_IB_PCI_RELAXED_ORDERING",
    "NCCL_IB_QPS_PER_CONNECTION",
    "NCCL_IB_SL",
    "NCCL_IGNORE_CPU_AFFINITY",
    "NCCL_MIN_NCHANNELS",
    "NCCL_MNNVL_ENABLE",
    "NCCL_NET_GDR_C2C",
    "NCCL_NET_GDR_LEVEL",
    "NCCL_NVLS_ENABLE",
    "NCCL_P2P_DISABLE",
    "NCCL_P2P_NET_CHUNKSIZE",
    "NCCL_PXN_DISABLE",
    "NCCL_SHM_DISABLE",
    "NCCL_SOCKET_IFNAME",
    "NCCL_TOPO_FILE",
    "SHARP_COLL_ENABLE_PCI_RELAXED_ORDERING",
    "SHARP_COLL_ENABLE_SAT",
    "SHARP_COLL_LOG_LEVEL",
    "SHARP_SMX_UCX_INTERFACE",
    "UCX_IB_PCI_RELAXED_ORDERING",
    "UCX_NET_DEVICES",
    "UCX_TLS",
}
FIGURES = ("ntasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gib", "cpu_bind", "mounts")


@pytest.fixture(params=sorted(profiles()))
def known(request: pytest.FixtureRequest) -> Profile:
    return profile(request.param)


def has_a_date(source: str) -> bool:
    return re.search(r"[( ]20\d\d-\d\d-\d\d\)$", source) is not None


def test_every_figure_of_a_profile_has_a_dated_source(known: Profile) -> None:
    stated = {key for key in FIGURES if getattr(known, key) not in (None, ())}
    assert set(known.sources) == stated | {f"env.{name}" for name in known.env}
    assert all(map(has_a_date, known.sources.values()))
    for part in known.parts.values():
        assert set(part.sources) - {"mounts"} == {f"env.{name}" for name in part.env}


def test_a_profile_fits_its_size(known: Profile) -> None:
    size = vm_size(known.name)
    assert size.vcpus is not None and known.ntasks_per_node is not None and known.cpus_per_task is not None
    assert known.ntasks_per_node * known.cpus_per_task <= size.vcpus
    assert (known.gpus_per_node or 0) == (size.gpus or 0)
    if known.gpus_per_node is not None:
        assert known.ntasks_per_node == known.gpus_per_node


def masks(known: Profile) -> list[int]:
    if known.cpu_bind in (None, "none"):
        return []
    kind, _, listed = str(known.cpu_bind).partition(":")
    assert kind == "mask_cpu"
    return [int(mask, 16) for mask in listed.split(",")]


def test_masks_are_places_for_all_tasks_within_the_cores(known: Profile) -> None:
    places = masks(known)
    if not places:
        return
    assert len(places) == known.ntasks_per_node
    assert max(places).bit_length() <= (vm_size(known.name).vcpus or 0)
    for one in places:
        # Tasks that share a place have room in it together, and places do not overlap otherwise.
        assert one.bit_count() >= places.count(one) * (known.cpus_per_task or 1)
        assert all(one & other in (0, one) for other in places)


def test_variables_are_spelled_as_their_programs_read_them(known: Profile) -> None:
    named = set(known.env).union(*(part.env for part in known.parts.values()))
    assert named <= VARIABLES


def test_no_variable_is_on_the_list_in_vain() -> None:
    everywhere: set[str] = set()
    for each in profiles().values():
        everywhere |= set(each.env).union(*(part.env for part in each.parts.values()))
    assert everywhere == VARIABLES


def test_the_files_that_variables_name_are_mounted(known: Profile) -> None:
    for variable in ("NCCL_TOPO_FILE", "NCCL_GRAPH_FILE"):
        path = known.env.get(variable)
        assert path is None or any(path.startswith(mount.split(":")[0] + "/") for mount in known.mounts)


def test_containers_see_the_gpus(known: Profile) -> None:
    is_nvidia = "NVIDIA" in (vm_size(known.name).gpu_model or "")
    assert ("NVIDIA_VISIBLE_DEVICES" in known.env) == is_nvidia


def test_sharp_is_only_on_where_it_is_asked_for(known: Profile) -> None:
    assert not [name for name in known.env if name.startswith("SHARP") or name == "NCCL_COLLNET_ENABLE"]
    if "sharp" in known.parts:
        asked = profile(f"{known.name}+sharp")
        assert (asked.env["NCCL_COLLNET_ENABLE"], asked.vm_size) == ("1", known.name)
        assert set(asked.env) > set(known.env)


@pytest.mark.parametrize("name", ["nd96isr_h100_v5", "STANDARD_ND96ISR_H100_V5", "ND96isr_H100_v5"])
def test_a_name_is_found_in_any_case_and_without_its_prefix(name: str) -> None:
    assert profile(name).name == "Standard_ND96isr_H100_v5"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ND96isr_H100",
            "There is no run profile for the VM size 'ND96isr_H100'.\n"
            "Did you mean 'Standard_ND96isr_H100_v5'?",
        ),
        ("xyz", "There is no run profile for the VM size 'xyz'.\nhpcai vm list --profile"),
        (
            "NC4as_T4_v3",
            "There is no run profile for the VM size 'NC4as_T4_v3'.\n"
            "Leave profile out, and state what the job needs.\nhpcai vm list --profile",
        ),
        (
            "ND96isr_H100_v5+shapr",
            "The run profile 'Standard_ND96isr_H100_v5' has no part 'shapr'.\nIts parts: sharp.\n"
            "Did you mean 'sharp'?",
        ),
        ("HB176rs_v4+sharp", "The run profile 'Standard_HB176rs_v4' has no part 'sharp'.\nIt has no parts."),
    ],
)
def test_an_unknown_name_is_not_found_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        profile(name)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "nd96isr_h100",
            "got 'nd96isr_h100', which is no run profile. Did you mean 'Standard_ND96isr_H100_v5'?",
        ),
        ("xyz", "got 'xyz', which is no run profile; `hpcai vm list --profile` lists them"),
        (
            "nd96isr_h100_v5+x",
            "got 'nd96isr_h100_v5+x', which is no run profile; its parts: sharp",
        ),
    ],
)
def test_an_unknown_profile_in_a_file_has_its_place(value: Any, message: str) -> None:
    with pytest.raises(UnknownNames) as raised:
        load_text(f'kind: job\nname: a\ncommand: "true"\nprofile: {value}\n', "job.yaml")
    assert str(raised.value) == f"job.yaml:4:10: profile: {message}"
