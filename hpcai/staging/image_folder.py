"""What lies in a folder of images in ImageNet's layout: SPLIT/CLASS/IMAGE, or CLASS/IMAGE alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import NotFoundError, StageError, did_you_mean

SPLIT_NAMES = ("train", "val", "test")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_LAYOUT = "Expected are folders of JPEG or PNG: train/CLASS/IMAGE and val/CLASS/IMAGE, or CLASS/IMAGE."


@dataclass(frozen=True)
class ImageFolder:
    """The images of each split as paths CLASS/IMAGE below `roots[split]`, sorted, and their bytes."""

    class_names: tuple[str, ...]
    roots: dict[str, Path]
    images: dict[str, list[str]]
    sizes: dict[str, list[int]]


def scan(source: Path) -> ImageFolder:
    """The classes and images below `source`; only names and sizes are read.

    Raises NotFoundError without a folder, StageError when the layout is another one.
    """
    if not source.is_dir():
        beside = _folders(source.parent) if source.parent.is_dir() else []
        what = "is not a folder" if source.exists() else "does not exist"
        raise NotFoundError(
            f"{str(source)!r} {what}.", allowed=_LAYOUT, next_step=did_you_mean(source.name, beside)
        )
    roots = _split_roots(source)
    classes = {split: _folders(root) for split, root in roots.items()}
    class_names = _same_classes(source, classes)
    images: dict[str, list[str]] = {}
    sizes: dict[str, list[int]] = {}
    for split, root in roots.items():
        images[split], sizes[split] = _images(root, class_names)
    return ImageFolder(class_names, roots, images, sizes)


def _split_roots(source: Path) -> dict[str, Path]:
    # A class may be called train: it is a split only when it holds folders itself.
    splits = {name: source / name for name in SPLIT_NAMES if _folders(source / name)}
    if not splits:
        return {"train": source}
    others = [name for name in _folders(source) if name not in splits]
    if others:
        raise StageError(
            f"{str(source)!r} holds the splits {', '.join(splits)} and other folders: {_some(others)}.",
            allowed=f"The folders beside a split are splits: {', '.join(SPLIT_NAMES)}.",
        )
    return splits


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _same_classes(source: Path, classes: dict[str, list[str]]) -> tuple[str, ...]:
    first, *others = classes
    if not classes[first]:
        raise StageError(f"{str(source)!r} holds no class folders.", allowed=_LAYOUT)
    for other in others:
        for one, two in ((first, other), (other, first)):
            missing = sorted(set(classes[one]) - set(classes[two]))
            if missing:
                raise StageError(
                    f"The splits of {str(source)!r} have different classes: {two} lacks {_some(missing)}.",
                    allowed="Every split has a folder for every class.",
                )
    return tuple(classes[first])


def _images(root: Path, class_names: Iterable[str]) -> tuple[list[str], list[int]]:
    names: list[str] = []
    sizes: list[int] = []
    for class_name in class_names:
        found = _class_images(root / class_name)
        if not found:
            raise StageError(f"The class folder {str(root / class_name)!r} is empty.", allowed=_LAYOUT)
        names.extend(f"{class_name}/{name}" for name, _ in found)
        sizes.extend(size for _, size in found)
    return names, sizes


def _class_images(folder: Path) -> list[tuple[str, int]]:
    images: list[tuple[str, int]] = []
    strange: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file() and entry.name.lower().endswith(_IMAGE_SUFFIXES):
                images.append((entry.name, entry.stat().st_size))
            else:
                strange.append(entry.name)
    if strange:
        raise StageError(
            f"The class folder {str(folder)!r} holds what is no image: {_some(sorted(strange))}.",
            allowed=f"Image files end in {', '.join(_IMAGE_SUFFIXES)}; dotted names are left out.",
        )
    return sorted(images)


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
