from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from hpcai.train.comm import Communicator
from hpcai.train.evaluate import Accuracy, evaluate
from hpcai.train.loader import Batch
from hpcai.train.single import Single
from hpcai.train.world import ALONE

CPU = torch.device("cpu")


class Brightest(nn.Module):
    """Logits: the mean of each of the three channels."""

    def forward(self, x_nchw: Tensor) -> Tensor:
        assert not self.training
        return x_nchw.mean((2, 3))


def held_out(count: int) -> list[tuple[Tensor, Tensor]]:
    """One picture per batch, with the channel that is its label at its brightest, but not in every third."""
    batches = []
    for number in range(count):
        picture = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
        picture[..., (number + (number % 3 == 2)) % 3] = 255
        batches.append((picture, torch.tensor([number % 3])))
    return batches


def accuracy(comm: Communicator, batches: Iterable[Batch]) -> Accuracy:
    model = Brightest()
    found = evaluate(comm, model, batches, CPU, "fp32")
    assert model.training
    return found


def test_each_picture_counts_once() -> None:
    found = accuracy(Single(ALONE), held_out(5))
    assert (found.samples, found.top1) == (5, pytest.approx(4 / 5))
    # The third is the one that is wrong.
    assert accuracy(Single(ALONE), held_out(2)).loss < found.loss < math.inf


def test_a_batch_of_many_is_the_same_as_many_of_one() -> None:
    pictures, labels = (torch.cat(parts) for parts in zip(*held_out(5), strict=True))
    one, many = accuracy(Single(ALONE), [(pictures, labels)]), accuracy(Single(ALONE), held_out(5))
    assert (one.samples, one.top1) == (many.samples, many.top1)
    assert one.loss == pytest.approx(many.loss)


class OnAnotherDevice(Single):
    """Notes what is summed, whose content a meta tensor does not have."""

    def sum(self, values: Tensor) -> Tensor:
        assert values.device == CPU
        return values


def test_totals_are_made_on_the_device_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[torch.device] = []

    def cpu(tensor: Tensor) -> Tensor:
        read.append(tensor.device)
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr("hpcai.train.evaluate.autocast", lambda *_: nullcontext())
    meta = torch.device("meta")
    found = evaluate(OnAnotherDevice(ALONE), Brightest().to(meta), held_out(3), meta, "fp32")
    assert found.samples == 3
    assert read == [meta]


def test_every_batch_is_a_sign_of_life() -> None:
    beats: list[int] = []
    evaluate(Single(ALONE), Brightest(), held_out(4), CPU, "fp32", lambda: beats.append(1))
    assert len(beats) == 4
