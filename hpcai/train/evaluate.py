"""Loss and accuracy on held-out pictures, each counted exactly once whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpcai.train.comm import Communicator
from hpcai.train.loader import Batch, normalised
from hpcai.train.precision import autocast


@dataclass(frozen=True)
class Accuracy:
    """Over all held-out samples; `top1` from 0 to 1."""

    loss: float
    top1: float
    samples: int


def evaluate(
    comm: Communicator,
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    precision: str,
    beat: Callable[[], None] = lambda: None,
) -> Accuracy:
    """The accuracy over the batches of all ranks together, with a `beat` before each batch.

    The loss is without label smoothing.
    """
    loss_sum, right_sum, samples = comm.sum(_totals(model, batches, device, precision, beat)).tolist()
    return Accuracy(loss_sum / samples, right_sum / samples, int(samples))


def _totals(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    precision: str,
    beat: Callable[[], None],
) -> Tensor:
    """This rank's sum of losses, right answers and samples, on the CPU."""
    # On the device until the end: reading them would make a GPU wait at every batch.
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    samples = 0
    model.eval()
    with torch.inference_mode():
        for pictures_nhwc, labels in batches:
            beat()
            labels_n = labels.to(device, non_blocking=True)
            with autocast(precision, device):
                logits_nk = model(normalised(pictures_nhwc, device)).float()
            loss = functional.cross_entropy(logits_nk, labels_n, reduction="sum")
            right = (logits_nk.argmax(1) == labels_n).sum()
            sums += torch.stack([loss.double(), right.double()])
            samples += len(labels)
    model.train()
    return torch.cat([sums.cpu(), torch.tensor([samples], dtype=torch.float64)])


def average_running_statistics(comm: Communicator, model: nn.Module) -> None:
    """Makes the norms' running statistics the same on all ranks: one model to evaluate and to save.

    Each rank's are a linear average of its batches, so nothing is lost; gradients do not depend on them.
    """
    if comm.world.size == 1:
        return
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not statistics:
        return
    flat = comm.sum(torch.cat([buffer.flatten() for buffer in statistics])) / comm.world.size
    parts = torch.split(flat, [buffer.numel() for buffer in statistics])
    for buffer, mean in zip(statistics, parts, strict=True):
        buffer.copy_(mean.view_as(buffer))
