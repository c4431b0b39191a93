"""Writes scikit-learn's handwritten digits as JPEG files in ImageNet's folder layout.

    python examples/digits/write_images.py /tmp/digits
    hpcai data pack /tmp/digits /tmp/digits-packed --name digits --shard-mib 1

The 1,797 digits (UCI ML hand-written digits, test part) come with scikit-learn; nothing is downloaded. Each
8 x 8 grey picture becomes a 64 x 64 RGB JPEG of quality 90. 450 of them, drawn evenly over the ten classes
with a fixed seed, are held out:

    DST/train/<0..9>/digit-NNNN.jpg    1,347 files
    DST/val/<0..9>/digit-NNNN.jpg        450 files
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 64
HELD_OUT = 450


def picture(digit: np.ndarray) -> Image.Image:
    """A 64 x 64 RGB picture of an 8 x 8 array of 0 to 16."""
    grey = Image.fromarray(np.round(digit * 255 / 16).astype(np.uint8))
    return grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def write_images(target: Path) -> None:
    """The files of both splits below `target`."""
    images, labels = load_digits(return_X_y=True)
    numbers = np.arange(len(labels))
    train, val = train_test_split(numbers, test_size=HELD_OUT, stratify=labels, random_state=0)
    for split, members in (("train", train), ("val", val)):
        for number in members:
            folder = target / split / str(labels[number])
            folder.mkdir(parents=True, exist_ok=True)
            picture(images[number].reshape(8, 8)).save(folder / f"digit-{number:04d}.jpg", quality=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as JPEG in ImageNet's layout.")
    parser.add_argument("target", type=Path, metavar="DST", help="folder to write train/ and val/ into")
    write_images(parser.parse_args().target)
