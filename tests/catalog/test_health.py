"""Health baselines: sourced, named with their units, and in line with the table of sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hpcai.catalog import health
from hpcai.catalog.health import Baseline, baseline
from hpcai.catalog.sizes import vm_size

NAMES = json.loads(Path(health.__file__).with_name("health.json").read_text())["sizes"]
COUNTS = {"sockets", "vcpus", "gpus", "nvme_count", "infiniband_ports"}
UNITS = ("_gib", "_percent", "_gb_per_s", "_gbit_per_s", "_tflop_per_s", "_bytes")


@pytest.fixture(params=NAMES)
def known(request: pytest.FixtureRequest) -> Baseline:
    found = baseline(request.param)
    assert found is not None
    return found


def test_every_figure_has_a_dated_source_and_a_unit(known: Baseline) -> None:
    assert set(known.sources) == set(known.figures)
    assert all(re.search(r"[( ]20\d\d-\d\d-\d\d\)$", source) for source in known.sources.values())
    assert all(name in COUNTS or name.endswith(UNITS) for name in known.figures)


def test_it_counts_what_the_size_has(known: Baseline) -> None:
    size = vm_size(known.name)
    for mine, theirs in (
        ("vcpus", size.vcpus),
        ("gpus", size.gpus),
        ("nvme_count", size.nvme_count),
        ("infiniband_ports", size.infiniband_rails),
    ):
        assert known.figures.get(mine, theirs) == theirs
    if "memory_gib" in known.figures and size.memory_gib is not None:
        # Linux keeps some for itself; docs and checks differ by at most this (HBv3, MI300X).
        assert 0.93 <= float(known.figures["memory_gib"]) / size.memory_gib <= 1.02


def test_a_doubtful_figure_lies_between_the_good_and_the_bad(known: Baseline) -> None:
    for name in known.figures:
        if "_warn_" in name:
            good, bad = name.replace("_warn_", "_"), name.replace("_warn_", "_fail_")
            assert float(known.figures[bad]) < float(known.figures[name]) < float(known.figures[good])


def test_what_nobody_published_is_none() -> None:
    assert baseline("HB368rs_v5") is None
    assert baseline("xyz") is None


def test_what_is_enforced_is_taken_where_a_page_says_more() -> None:
    found = baseline("nd96isr_h200_v5")
    assert found is not None
    assert (found.figures["allreduce_gb_per_s"], found.figures["infiniband_write_gbit_per_s"]) == (431, 360)
    assert "480" in found.notes
