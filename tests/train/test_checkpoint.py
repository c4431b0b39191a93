from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpcai.errors import StageError, UsageError
from hpcai.train.checkpoint import (
    FILE_NAME,
    PREVIOUS_NAME,
    Checkpoint,
    Position,
    Setting,
    load,
    newest,
    require_same,
    save,
)

SETTING = Setting(
    "resnet18", ("a", "b"), "v1", 64, 32, 0, {"base_lr": 0.4, "momentum": 0.9, "nesterov": True}, 6
)


def checkpoint(step: int) -> Checkpoint:
    weights = torch.full((64, 32, 3, 3), float(step)).to(memory_format=torch.channels_last)
    position = Position(epoch=1, step_in_epoch=2, step=step, loss_sum=1.5, images=64, top1=0.5)
    return Checkpoint(SETTING, position, "bf16", {"w": weights}, {"w": torch.zeros(3)})


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    save(tmp_path / "outputs", checkpoint(7))
    found, damage = newest(tmp_path / "outputs")
    assert found is not None and damage is None
    assert (found.setting, found.position, found.precision) == (SETTING, checkpoint(7).position, "bf16")
    assert torch.equal(found.model["w"], checkpoint(7).model["w"])
    assert found.model["w"].is_contiguous(memory_format=torch.channels_last)
    assert torch.load(tmp_path / "outputs" / FILE_NAME, weights_only=True)["schema_version"] == 1


def test_the_one_before_is_kept_and_nothing_else(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, checkpoint(step))
    assert names_in(tmp_path) == {FILE_NAME, PREVIOUS_NAME}
    assert load(tmp_path / FILE_NAME).position.step == 3
    assert load(tmp_path / PREVIOUS_NAME).position.step == 2


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, None)
    assert newest(tmp_path / "missing") == (None, None)


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "text", "other"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        save(tmp_path, checkpoint(step))
    spoil(tmp_path / FILE_NAME, damage)
    found, words = newest(tmp_path)
    assert found is not None and found.position.step == 1
    assert words is not None and FILE_NAME in words and "damaged" in words
    spoil(tmp_path / PREVIOUS_NAME, damage)
    with pytest.raises(StageError, match="start anew with --no-resume"):
        newest(tmp_path)


def spoil(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "other":
        torch.save({"state_dict": {}}, path)
        return
    middle = len(data) // 2
    contents = {
        "empty": b"",
        "cut": bytes(data[:middle]),
        "changed": bytes(data[:middle]) + bytes([data[middle] ^ 1]) + bytes(data[middle + 1 :]),
        "text": b"no checkpoint\n",
    }
    # A new file: a hard link to the checkpoint before must not be spoilt along.
    path.unlink()
    path.write_bytes(contents[damage])


def test_a_checkpoint_of_a_later_hpcai_is_refused_and_not_replaced(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, checkpoint(step))
    content = torch.load(tmp_path / FILE_NAME, weights_only=True)
    torch.save({**content, "schema_version": 2}, tmp_path / FILE_NAME)
    with pytest.raises(StageError, match=r"has schema_version 2; this hpcai reads 1(.|\n)*that made it"):
        newest(tmp_path)


def test_a_checkpoint_that_may_not_be_read_is_not_gone_behind(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, checkpoint(step))
    (tmp_path / FILE_NAME).chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        # Root may read everything.
        os.seteuid(65534)
    try:
        with pytest.raises(StageError, match=r"cannot be read: Permission denied(.|\n)*Make it readable"):
            newest(tmp_path)
    finally:
        if was_root:
            os.seteuid(0)


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, checkpoint(1))

    def no_space(descriptor: int) -> None:
        assert descriptor > 2
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(StageError, match="No space left on device"):
        save(tmp_path, checkpoint(2))
    assert names_in(tmp_path) == {FILE_NAME}
    assert load(tmp_path / FILE_NAME).position.step == 1


@pytest.mark.parametrize("status", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_share_without_hard_links_keeps_the_one_before_too(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(status, os.strerror(status), source, None, target)

    monkeypatch.setattr("os.link", refuse)
    for step in (1, 2, 3):
        save(tmp_path, checkpoint(step))
    assert names_in(tmp_path) == {FILE_NAME, PREVIOUS_NAME}
    assert [load(tmp_path / name).position.step for name in (FILE_NAME, PREVIOUS_NAME)] == [3, 2]


def test_what_a_killed_save_left_is_in_nobodys_way(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1))
    for name in (FILE_NAME, PREVIOUS_NAME):
        (tmp_path / name).with_suffix(".part").write_bytes(b"half")
    save(tmp_path, checkpoint(2))
    assert names_in(tmp_path) == {FILE_NAME, PREVIOUS_NAME}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"global_batch": 16}, "global_batch 32 there, 16 now (--batch-size times ranks)"),
        ({"data_version": "v2", "class_names": ("a",) * 1000}, "data_version 'v1' there, 'v2' now (--data)"),
        ({"recipe": {**SETTING.recipe, "base_lr": 0.1}}, "base_lr 0.4 there, 0.1 now (--base-lr)"),
        ({"recipe": {**SETTING.recipe, "momentum": 0.8}}, "momentum 0.9 there, 0.8 now (--recipe)"),
        ({"epochs": 9, "seed": 1}, "seed 0 there, 1 now (--seed); epochs 6 there, 9 now (--epochs)"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused_by_what_differs(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        require_same(checkpoint(1), replace(SETTING, **change), "auto")
    assert raised.value.what == f"The checkpoint is of another training: {words}."
    require_same(checkpoint(1), SETTING, "auto")


def test_the_precision_of_a_checkpoint_is_kept_or_refused() -> None:
    require_same(checkpoint(1), SETTING, "bf16")
    with pytest.raises(UsageError, match=r"precision 'bf16' there, 'fp32' now \(--precision\)"):
        require_same(checkpoint(1), SETTING, "fp32")


def test_a_checkpoint_from_before_some_of_its_setting_was_kept_is_gone_on_with(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(1))
    content = torch.load(tmp_path / FILE_NAME, weights_only=True)
    del content["setting"]["epochs"], content["setting"]["recipe"]["nesterov"]
    torch.save(content, tmp_path / FILE_NAME)
    require_same(load(tmp_path / FILE_NAME), SETTING, "auto")
    other = {**SETTING.recipe, "nesterov": False}
    with pytest.raises(UsageError, match=r"nesterov True there, False now \(--recipe\)"):
        require_same(load(tmp_path / FILE_NAME), replace(SETTING, recipe=other), "auto")
