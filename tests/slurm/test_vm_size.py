"""`profile: auto`: which VM size a partition's nodes are."""

from __future__ import annotations

import pytest

from hpcai.errors import NotFoundError
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.vm_size import is_auto, size_of, with_profile
from hpcai.specs.job import JobSpec

HBV3 = NodeInfo("h1", "IDLE", cpus=120, memory_mib=int(448 * 1024 * 0.95), features=("cloud",))
MAIN = PartitionInfo("main", is_default=True, node_list="h1", total_nodes=1)
OTHER = PartitionInfo("other", node_list="x1", total_nodes=1)
X1 = NodeInfo("x1", "IDLE", cpus=96, gpus=8, features=("cloud", "standard_nd96isr_h100_v5"))


def job(profile: str = "auto", **fields: object) -> JobSpec:
    return JobSpec.model_validate({"name": "x", "command": "true", "profile": profile, **fields})


@pytest.mark.parametrize(
    ("profile", "fields", "settings", "size"),
    [
        ("auto", {"partition": "a"}, {"a": "hb176rs_v4"}, "Standard_HB176rs_v4"),
        ("Auto+sharp", {"partition": "other"}, {}, "Standard_ND96isr_H100_v5+sharp"),
        ("auto", {}, {}, "Standard_HB120rs_v3"),
        ("auto", {}, {"main": "Standard_HC44rs"}, "Standard_HC44rs"),
        ("auto", {"partition": "a"}, {"a": "Standard_F16s_v2"}, None),
        ("Standard_HC44rs", {}, {"main": "Standard_HB120rs_v3"}, "Standard_HC44rs"),
    ],
)
def test_the_size_of_the_partition(
    profile: str, fields: dict[str, object], settings: dict[str, str], size: str | None
) -> None:
    assert with_profile(job(profile, **fields), settings, [MAIN, OTHER], [HBV3, X1]).profile == size


def test_a_single_partition_of_the_settings_needs_no_slurm() -> None:
    assert with_profile(job(), {"a": "Standard_HC44rs"}, None, None).profile == "Standard_HC44rs"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"partition": "none"}, "Slurm told of no node in it"),
        ({"partition": "main,other"}, "look like Standard_HB120rs_v3 or Standard_ND96isr_H100_v5"),
    ],
)
def test_what_nobody_has_told_is_an_error_that_says_why(fields: dict[str, object], words: str) -> None:
    with pytest.raises(NotFoundError) as error:
        with_profile(job(**fields), {}, [MAIN, OTHER], [HBV3, X1])
    assert words in str(error.value) and "partitions:" in str(error.value)


def test_sizes_of_the_same_counts_are_all_named() -> None:
    node = NodeInfo("n", "IDLE", cpus=96, gpus=8, memory_mib=int(1900 * 1024 * 0.95))
    found = size_of("main", {}, [node])
    assert found.name is None and found.is_judged
    assert set(found.names) == {"Standard_ND96isr_H100_v5", "Standard_ND96amsr_A100_v4"}


def test_auto_is_known_whatever_stands_behind_it() -> None:
    assert [is_auto(one) for one in ("auto", "AUTO+sharp", "automatic", None)] == [True, True, False, False]
