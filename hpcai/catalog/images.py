"""The HPC images of Azure's marketplace: what they are for and what is in them, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase as fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

from hpcai.catalog.sizes import VmSize
from hpcai.catalog.sources import named

Gpu = Literal["nvidia", "nvidia-v100", "amd"]


@dataclass(frozen=True)
class Image:
    """One image; None means that no source states it. `urn` is how Azure and CycleCloud name it."""

    name: str
    urn: str | None = None
    system: str | None = None
    generation: int | None = None
    arch: str | None = None
    gpu: Gpu | None = None
    nvidia_driver: str | None = None
    cuda: str | None = None
    rocm: str | None = None
    notes: str = ""
    sources: Mapping[str, str] | None = None


@cache
def _content() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(
        Path(__file__).with_name("images.json").read_text(encoding="utf-8")
    )
    return content


@cache
def images() -> tuple[Image, ...]:
    """All images, those to take first before others."""
    return tuple(_image(name, entry) for name, entry in _content()["images"].items())


def images_for(size: VmSize) -> list[Image]:
    """The images that are made for this size, start on it and have its GPUs' driver.

    None for a size that neither the images' page nor their set-up names, and where its arch is not known.
    """
    if not any(fnmatch(size.name, pattern) for pattern in _patterns()):
        return []
    wanted = gpu_of(size)
    return [
        image
        for image in images()
        if image.arch == size.arch
        and image.gpu == wanted
        and (image.generation is None or size.generations is None or image.generation in size.generations)
    ]


@cache
def _patterns() -> tuple[str, ...]:
    return tuple(pattern for patterns in _content()["sizes"].values() for pattern in patterns)


def gpu_of(size: VmSize) -> Gpu:
    """The family of images for the size's GPUs; a size without GPUs takes the usual one, too."""
    model = size.gpu_model or ""
    if "AMD" in model:
        return "amd"
    return "nvidia-v100" if "V100" in model else "nvidia"


def _image(name: str, entry: Mapping[str, Any]) -> Image:
    figures = {key: value for key, value in entry.items() if key != "notes"}
    return Image(
        name,
        **{key: value for key, (value, _) in figures.items()},
        notes=entry.get("notes", ""),
        sources={key: named([source]) for key, (_, source) in figures.items()},
    )
