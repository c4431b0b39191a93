"""Checkpoints: whole or not there at all, with the one before kept."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from hpcai.errors import NotFoundError, StageError, UsageError
from hpcai.files import sync_folder

SCHEMA_VERSION = 1
FILE_NAME = "checkpoint.pt"
PREVIOUS_NAME = "checkpoint-previous.pt"

_DAMAGES = (
    OSError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    KeyError,
    TypeError,
    ValueError,
)


class Damaged(StageError):
    """A checkpoint that nobody can read any more, so that the one before counts."""


@dataclass
class Position:
    """How far a training has come: `step` counts optimizer steps, `step_in_epoch` those of `epoch`."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    """Of this epoch so far, over the pictures of all ranks."""
    images: int = 0
    top1: float | None = None
    """Of the last evaluation."""

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.step_in_epoch = epoch, 0
        self.loss_sum, self.images = 0.0, 0


@dataclass(frozen=True)
class Setting:
    """What must be the same for a checkpoint to be gone on with."""

    model: str
    class_names: tuple[str, ...]
    data_version: str
    image_size: int
    global_batch: int
    seed: int
    recipe: Mapping[str, Any]
    epochs: int | None
    """The schedule's length; None in a checkpoint that was made before it was kept."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next step depends on. Every choice by chance follows from the seed and the
    position, so that no generator's state is needed."""

    setting: Setting
    position: Position
    precision: str
    model: dict[str, Tensor] = field(repr=False)
    momentum: dict[str, Tensor] = field(repr=False)


def save(folder: Path, checkpoint: Checkpoint, again: Callable[[], str] = lambda: "the same command") -> None:
    """Puts the checkpoint in place in one instant and on disk; the one before stays as the previous one.

    Raises StageError when there is no space or no permission; then the one before still stands, and
    `again` says what goes on from it.
    """
    path = folder / FILE_NAME
    draft = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(draft, checkpoint)
        _keep(path, folder / PREVIOUS_NAME)
        draft.replace(path)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            draft.unlink()
        raise StageError(
            f"The checkpoint {str(path)!r} cannot be written: {error}.",
            next_step=f"Make room or access; then {again()} goes on from what was saved before.",
        ) from error


def _keep(path: Path, previous: Path) -> None:
    if not path.exists():
        return
    link = previous.with_suffix(".part")
    link.unlink(missing_ok=True)
    try:
        # A second name first, so that `path` never points to nothing.
        os.link(path, link)
    except OSError:
        # SMB shares and blobfuse have no hard links; whoever reads now finds the previous one.
        path.replace(previous)
    else:
        link.replace(previous)


def _write(path: Path, checkpoint: Checkpoint) -> None:
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": "checkpoint",
        "setting": {**asdict(checkpoint.setting), "class_names": list(checkpoint.setting.class_names)},
        "position": asdict(checkpoint.position),
        "precision": checkpoint.precision,
        "model": checkpoint.model,
        "momentum": checkpoint.momentum,
    }
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def newest(folder: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest checkpoint that is whole, None when there is none; and a sentence about a damaged newer one.

    Raises StageError when checkpoints are there and none of them is whole, and when one cannot be read, or
    not by this hpcai: it may well be whole, and what is saved next would take its place.
    """
    damages: list[Damaged] = []
    for name in (FILE_NAME, PREVIOUS_NAME):
        try:
            found = load(folder / name)
        except NotFoundError:
            continue
        except Damaged as error:
            damages.append(error)
        else:
            return found, str(damages[0]) if damages else None
    if damages:
        raise damages[0]
    return None, None


def load(path: Path) -> Checkpoint:
    """The checkpoint in a file, on the CPU.

    Raises NotFoundError, Damaged, and StageError when it cannot be read or is of another schema.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no checkpoint {str(path)!r}.") from error
    except OSError as error:
        raise StageError(
            f"The checkpoint {str(path)!r} cannot be read: {error.strerror}.",
            next_step="Make it readable to go on from it, or start anew with --no-resume.",
        ) from error
    with file:
        try:
            _require_whole(file)
            return _checkpoint(torch.load(file, map_location="cpu", weights_only=True), path)
        except _DAMAGES as error:
            why = str(error).partition("\n")[0] or repr(error)
            raise Damaged(
                f"The checkpoint {str(path)!r} is damaged: {why}.",
                next_step="Remove it to go on from the one before, or start anew with --no-resume.",
            ) from error


def _require_whole(file: BinaryIO) -> None:
    # torch writes a checksum with every tensor into its ZIP file, and does not look at it when it reads.
    with zipfile.ZipFile(file) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")
    file.seek(0)


def _checkpoint(content: Any, path: Path) -> Checkpoint:
    if not isinstance(content, dict) or content.get("kind") != "checkpoint":
        raise ValueError("it is not a checkpoint of hpcai")
    if content["schema_version"] != SCHEMA_VERSION:
        raise StageError(
            f"The checkpoint {str(path)!r} has schema_version {content['schema_version']!r}; "
            f"this hpcai reads {SCHEMA_VERSION}.",
            next_step="Go on with the hpcai that made it, or start anew with --no-resume.",
        )
    setting = dict(content["setting"])
    setting["class_names"] = tuple(setting["class_names"])
    setting.setdefault("epochs", None)
    # Before it could be chosen it was always so.
    setting["recipe"] = {"nesterov": True, **setting["recipe"]}
    return Checkpoint(
        Setting(**setting),
        Position(**content["position"]),
        content["precision"],
        content["model"],
        content["momentum"],
    )


# Where a name of the setting is not that of its option; what has none is of the recipe.
_OPTIONS = {
    "data_version": "--data",
    "model": "--model",
    "image_size": "--image-size",
    "global_batch": "--batch-size times ranks",
    "epochs": "--epochs",
    "seed": "--seed",
    "precision": "--precision",
    "base_lr": "--base-lr",
    "flip": "--flip",
}


def require_same(checkpoint: Checkpoint, setting: Setting, precision: str) -> None:
    """Raises UsageError when the checkpoint belongs to another training.

    The precision `auto` takes what the checkpoint has.
    """
    old = _by_name(checkpoint.setting, checkpoint.precision)
    new = _by_name(setting, checkpoint.precision if precision == "auto" else precision)
    if old["epochs"] is None:
        del old["epochs"]
    changes = [
        f"{name} {value!r} there, {new[name]!r} now ({_OPTIONS.get(name, '--recipe')})"
        for name, value in old.items()
        if value != new[name]
    ]
    if changes:
        raise UsageError(
            f"The checkpoint is of another training: {'; '.join(changes)}.",
            allowed="A resumed training must go on as it was.",
            next_step="Restore the old value, or start anew with --no-resume.",
        )


def _by_name(setting: Setting, precision: str) -> dict[str, Any]:
    """Everything that must be the same. The version of the data stands for its classes too."""
    values = {**asdict(setting), **setting.recipe, "precision": precision}
    del values["recipe"], values["class_names"]
    return values
