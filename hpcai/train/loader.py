"""Batches of pictures, made by threads while the model computes on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from hpcai.train.augment import held_out_view, training_view
from hpcai.train.dataset import ImageSet, Pixels
from hpcai.train.recipe import Recipe
from hpcai.train.sampler import Indices, Sampler, held_out_batches

Batch = tuple[Tensor, Tensor]
"""Pictures (N, H, W, 3) as uint8 and labels (N) as int64."""

# ImageNet's mean and standard deviation per channel, as every public ResNet uses them.
_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class Loader:
    """Makes batches of one split in the background, `ahead` of them.

    `pinned` batches lie where a GPU fetches them itself, without the program waiting.
    """

    def __init__(
        self,
        images: ImageSet,
        recipe: Recipe,
        image_size: int,
        *,
        threads: int,
        ahead: int = 2,
        pinned: bool = False,
    ) -> None:
        self._images = images
        self._recipe = recipe
        self._image_size = image_size
        self._ahead = ahead
        self._pinned = pinned
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def training(self, sampler: Sampler, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The rest of an epoch. What is done to a sample depends on seed, epoch and sample alone."""

        def view(index: int) -> Pixels:
            generator = np.random.default_rng((sampler.seed, epoch, index))
            return training_view(self._images.pixels(index), self._image_size, self._recipe, generator)

        return self._batches(sampler.batches(epoch, first_step), view)

    def held_out(self, batch_size: int, rank: int, size: int) -> Iterator[Batch]:
        """This rank's share of the split, without chance."""

        def view(index: int) -> Pixels:
            return held_out_view(self._images.pixels(index), self._image_size, self._recipe)

        return self._batches(held_out_batches(len(self._images), batch_size, rank, size), view)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._images.close()

    def _batches(self, batches: Iterable[Indices], view: Callable[[int], Pixels]) -> Iterator[Batch]:
        started: deque[tuple[Indices, list[Future[Pixels]]]] = deque()
        for indices in batches:
            started.append((indices, [self._pool.submit(view, int(index)) for index in indices]))
            if len(started) > self._ahead:
                yield self._finished(*started.popleft())
        while started:
            yield self._finished(*started.popleft())

    def _finished(self, indices: Indices, views: list[Future[Pixels]]) -> Batch:
        shape = (len(views), self._image_size, self._image_size, 3)
        pictures_nhwc = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        np.stack([future.result() for future in views], out=pictures_nhwc.numpy())
        labels = [self._images.label(int(index)) for index in indices]
        return pictures_nhwc, torch.tensor(labels, pin_memory=self._pinned)


def normalised(pictures_nhwc: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures (N, H, W, 3) as the model's input (N, 3, H, W) in channels_last, on the device."""
    mean, std = _mean_and_std(device)
    floats_nhwc = pictures_nhwc.to(device, non_blocking=True).to(torch.float32)
    return ((floats_nhwc - mean) / std).permute(0, 3, 1, 2)


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    # Once: a GPU would be waited for each time that they are copied to it.
    return torch.tensor(_MEAN, device=device), torch.tensor(_STD, device=device)
