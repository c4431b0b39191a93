"""Measures a training's steps in windows: loss, pictures per second, and how long data was waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcai.train.comm import Communicator


@dataclass(frozen=True)
class Window:
    """What was measured over a few steps, of all ranks together."""

    loss_sum: float
    images: int
    data_wait_s: float
    """How long a rank waited for pictures, mean over the ranks."""
    timed_images: int
    """Without the first step of a process, which is not like the others."""
    seconds: float

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images

    @property
    def images_per_s(self) -> float | None:
        return self.timed_images / self.seconds if self.timed_images else None

    def __add__(self, other: Window) -> Window:
        return Window(
            self.loss_sum + other.loss_sum,
            self.images + other.images,
            self.data_wait_s + other.data_wait_s,
            self.timed_images + other.timed_images,
            self.seconds + other.seconds,
        )


NOTHING = Window(0.0, 0, 0.0, 0, 0.0)


class Meter:
    """Collects one rank's steps until they are shared."""

    def __init__(self) -> None:
        self.steps = 0
        """Since the process began."""
        self.restart()

    def restart(self) -> None:
        """Begins a window now; what happened since the last one belongs to none."""
        self._losses: list[Tensor] = []
        self._images = self._timed_images = 0
        self._wait_s = 0.0
        self._start = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._wait_s += time.perf_counter() - start

    def add(self, loss: Tensor, images: int) -> None:
        """Counts a step with its mean loss over this rank's pictures."""
        self.steps += 1
        # Kept as tensors: reading one would make a GPU wait at every step.
        self._losses.append(loss * images)
        self._images += images
        if self.steps == 1:
            self._wait_s = 0.0
            self._start = time.perf_counter()
        else:
            self._timed_images += images

    def share(self, comm: Communicator, *flags: bool) -> tuple[Window, list[bool]]:
        """The window of all ranks, and per flag whether any rank raised it; one collective call."""
        loss_sum = float(torch.stack(self._losses).double().sum()) if self._losses else 0.0
        mine = [loss_sum, self._images, self._timed_images, self._wait_s, *flags]
        seconds = time.perf_counter() - self._start
        loss_sum, images, timed, wait_s, *raised = comm.sum(torch.tensor(mine, dtype=torch.float64)).tolist()
        window = Window(loss_sum, int(images), wait_s / comm.world.size, int(timed), seconds)
        return window, [count > 0 for count in raised]
