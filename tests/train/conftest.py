from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcai.staging.pack import pack

CLASSES = ("cross", "line", "spot")
SIDE = 40


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed data set of 40 px pictures: 3 classes, 27 to train and 11 held out, two shards."""
    folder = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(0)
    for split, count in (("train", 27), ("val", 11)):
        for number in range(count):
            label = number % len(CLASSES)
            path = folder / "images" / split / CLASSES[label] / f"{number:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(label, generator)).save(path, quality=90)
    pack(folder / "images", folder / "packed", name="tiny", shard_bytes=1024)
    return folder / "packed"


def picture(label: int, generator: np.random.Generator) -> np.ndarray:
    pixels = generator.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    middle = slice(16, 24)
    if label in (0, 1):
        pixels[middle, :] += 180
    if label == 0:
        pixels[:16, middle] += 180
    if label == 2:
        pixels[middle, middle] += 180
    return pixels
