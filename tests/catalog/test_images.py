"""HPC images: sourced, and only those are offered that start on a size and have its driver."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from hpcai.catalog import images as module
from hpcai.catalog.images import Image, images, images_for
from hpcai.catalog.sizes import vm_size, vm_sizes
from hpcai.catalog.sources import sources


@pytest.mark.parametrize("image", images(), ids=lambda image: str(image.name))
def test_every_figure_has_a_dated_source(image: Image) -> None:
    stated = {field.name for field in fields(image) if getattr(image, field.name) not in (None, "")}
    assert set(image.sources or {}) == stated - {"name", "notes", "sources"}
    assert all(re.search(r"[( ]20\d\d-\d\d-\d\d\)$", source) for source in (image.sources or {}).values())


@pytest.mark.parametrize(
    ("size", "first", "gpu"),
    [
        ("ND96isr_H100_v5", "microsoft-dsvm:ubuntu-hpc:2404:latest", "nvidia"),
        ("ND40rs_v2", "microsoft-dsvm:ubuntu-hpc:2204-v100:latest", "nvidia-v100"),
        ("ND96isr_MI300X_v5", "microsoft-dsvm:ubuntu-hpc:2404-rocm:latest", "amd"),
        ("ND128isr_GB300_v6", None, "nvidia"),
        ("HB176rs_v4", "microsoft-dsvm:ubuntu-hpc:2404:latest", "nvidia"),
    ],
)
def test_a_size_gets_its_images(size: str, first: str | None, gpu: str) -> None:
    found = images_for(vm_size(size))
    assert found[0].urn == first
    assert {(image.gpu, image.arch) for image in found} == {(gpu, vm_size(size).arch)}


@pytest.mark.parametrize("size", ["NV36ads_A10_v5", "ND24rs", "HX176rs", "D2s_v5", "NC24ads_A100_v4"])
def test_a_size_that_no_source_names_gets_none(size: str) -> None:
    assert images_for(vm_size(size)) == []


def test_every_size_that_is_named_exists() -> None:
    named = json.loads(Path(module.__file__).with_name("images.json").read_text())["sizes"]
    for source, patterns in named.items():
        assert source in sources()
        assert not [each for each in patterns if not fnmatch.filter(vm_sizes(), each)]


def test_a_size_of_unknown_architecture_gets_none() -> None:
    assert images_for(vm_size("HB120rs_v3")) == []
