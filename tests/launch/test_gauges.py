"""What a node tells of its use, from a folder that looks like its /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.launch.gauges import Card, Node, card_of, cards_of_job, rates
from tests.launch import node_tree


def card(index: int) -> Card:
    return Card(index, f"GPU-{index}", "NVIDIA H200", 140.4, 10.0, 1.0, 100.0)


def test_rates_are_those_of_ports_cards_and_disks_of_their_own(tmp_path: Path) -> None:
    node = Node(node_tree.make(tmp_path))
    assert node.port_names == ["mlx5_ib0", "mlx5_ib1"]
    before = node.counters()
    node_tree.turn(tmp_path, 10)
    assert rates(before, node.counters(), 10.0, cores=8) == {
        "cpu_percent": 25.0,
        # The counters count words of four bytes.
        "infiniband_in_gb_per_s": [1.0, 1.0],
        "infiniband_out_gb_per_s": [2.0, 2.0],
        # A card that another leads, InfiniBand's and the machine's own loop count elsewhere or nowhere.
        "ethernet_in_gb_per_s": 0.005,
        "ethernet_out_gb_per_s": 0.007,
        # A part of a disk has been counted with it.
        "disk_read_gb_per_s": 0.00102,
        "disk_written_gb_per_s": 0.00205,
    }


def test_a_counter_that_began_anew_tells_nothing(tmp_path: Path) -> None:
    node = Node(node_tree.make(tmp_path))
    node_tree.turn(tmp_path, 10)
    before = node.counters()
    node_tree.turn(tmp_path, 1)
    found = rates(before, node.counters(), 10.0, cores=8)
    assert found == {"infiniband_in_gb_per_s": [None, None], "infiniband_out_gb_per_s": [None, None]}


@pytest.mark.parametrize("version", [1, 2])
def test_the_kernels_count_for_the_whole_job_is_read(tmp_path: Path, version: int) -> None:
    folder = node_tree.cgroup(node_tree.make(tmp_path), version)
    node = Node(tmp_path)

    def burn(seconds: int) -> None:
        if version == 2:
            (folder / "cpu.stat").write_text(f"usage_usec {seconds * 10**6}\nuser_usec 1\n")
            (folder / "memory.current").write_text(f"{3 * 2**30}\n")
        else:
            (folder / "cpuacct.usage").write_text(f"{seconds * 10**9}\n")

    burn(5)
    before = node.counters()
    burn(20)
    assert rates(before, node.counters(), 10.0, cores=8)["job_cpu_cores"] == 1.5
    assert node.levels().get("job_memory_gib") == (3.0 if version == 2 else None)
    assert node.levels()["memory_gib"] == 50.0


def test_a_node_without_anything_of_it_is_no_error(tmp_path: Path) -> None:
    node = Node(tmp_path, scratch=str(tmp_path / "gone"))
    found = node.counters()
    assert (node.port_names, node.has_cgroup, node.levels()) == ([], False, {})
    assert set(rates(found, node.counters(), 1.0, cores=1).values()) == {0.0}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "3, GPU-8e, NVIDIA H100 80GB HBM3, 81559, 97, 71680, 612.31",
            Card(3, "GPU-8e", "NVIDIA H100 80GB HBM3", 79.65, 97.0, 70.0, 612.31),
        ),
        (
            "0, GPU-1, GRID, 100, [N/A], [Not Supported], [Unknown Error]",
            Card(0, "GPU-1", "GRID", 0.1, None, None, None),
        ),
        ("No devices were found", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
    ],
)
def test_a_line_of_nvidia_smi(line: str, expected: Card | None) -> None:
    assert card_of(line) == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("2,3", [2, 3]),
        ("GPU-1", [1]),
        # Slurm shows the job its own cards only, and counts them from 0.
        ("0,1,2,3", [0, 1, 2, 3]),
        ("4,5,6,7", [0, 1, 2, 3]),
        ("", [0, 1, 2, 3]),
        ("MIG-7", [0, 1, 2, 3]),
    ],
)
def test_cards_of_other_jobs_on_the_node_are_left_out(visible: str | None, expected: list[int]) -> None:
    cards = [card(index) for index in (3, 1, 0, 2)]
    assert [one.number for one in cards_of_job(cards, visible)] == expected
