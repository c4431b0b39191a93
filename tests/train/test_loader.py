from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hpcai.train.dataset import open_split
from hpcai.train.loader import Loader, normalised
from hpcai.train.recipe import RECIPES
from hpcai.train.sampler import Sampler


@pytest.fixture
def loader(tiny_data: Path) -> Iterator[Loader]:
    _, images = open_split(tiny_data, "train")
    loader = Loader(images, RECIPES["small"], 32, threads=2)
    yield loader
    loader.close()


def test_the_rest_of_an_epoch_is_the_same_whether_or_not_it_was_begun_here(loader: Loader) -> None:
    sampler = Sampler(27, 4, 0, 1, seed=5)
    whole = list(loader.training(sampler, epoch=1))
    rest = list(loader.training(sampler, epoch=1, first_step=2))
    assert len(whole) == 6
    for (pictures, labels), (same_pictures, same_labels) in zip(whole[2:], rest, strict=True):
        assert torch.equal(pictures, same_pictures)
        assert torch.equal(labels, same_labels)


def test_two_ranks_see_what_one_would_see(loader: Loader) -> None:
    alone = list(loader.training(Sampler(27, 6, 0, 1, seed=0), epoch=0))
    halves = [list(loader.training(Sampler(27, 3, rank, 2, seed=0), epoch=0)) for rank in (0, 1)]
    for (pictures, labels), first, second in zip(alone, *halves, strict=True):
        assert torch.equal(pictures, torch.cat([first[0], second[0]]))
        assert torch.equal(labels, torch.cat([first[1], second[1]]))


def test_each_epoch_crops_anew(loader: Loader) -> None:
    sampler = Sampler(27, 27, 0, 1, seed=0)
    sums = [next(loader.training(sampler, epoch))[0].double().sum().item() for epoch in (0, 1)]
    assert sums[0] != sums[1]


def test_held_out_batches_hold_every_label(loader: Loader) -> None:
    batches = [batch for rank in (0, 1) for batch in loader.held_out(4, rank, 2)]
    labels = torch.cat([labels for _, labels in batches])
    assert torch.bincount(labels).tolist() == [9, 9, 9]


def test_pictures_are_normalised_into_channels_last() -> None:
    pictures = torch.zeros(2, 5, 4, 3, dtype=torch.uint8)
    pictures[..., 1] = 255
    out = normalised(pictures, torch.device("cpu"))
    assert out.shape == (2, 3, 5, 4)
    assert out.is_contiguous(memory_format=torch.channels_last)
    expected = torch.tensor([-0.485 / 0.229, (1 - 0.456) / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(out[0, :, 0, 0], expected)


def test_what_normalises_is_copied_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, meta = torch.zeros(1, 4, 4, 3, dtype=torch.uint8), torch.device("meta")
    with torch.inference_mode():
        normalised(pictures, meta)
    monkeypatch.setattr("torch.tensor", None)
    assert normalised(pictures, meta).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("pinned", [True, False])
def test_batches_for_a_gpu_are_pinned(pinned: bool, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def without_gpu(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Any, pin_memory: bool, **more: Any) -> Tensor:
            asked.append(pin_memory)
            return make(*args, **more)

        return call

    for name in ("empty", "tensor"):
        monkeypatch.setattr(torch, name, without_gpu(getattr(torch, name)))
    _, images = open_split(tiny_data, "val")
    loader = Loader(images, RECIPES["small"], 32, threads=1, pinned=pinned)
    pictures, labels = next(loader.held_out(4, 0, 1))
    loader.close()
    assert (pictures.shape, labels.shape, asked) == ((4, 32, 32, 3), (4,), [pinned, pinned])
