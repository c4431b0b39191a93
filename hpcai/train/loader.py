"""Batches of pictures, made by threads while the model computes on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

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
    """Makes batches of one split in the background, `ahead` of them."""

    def __init__(
        self, images: ImageSet, recipe: Recipe, image_size: int, *, threads: int, ahead: int = 2
    ) -> None:
        self._images = images
        self._recipe = recipe
        self._image_size = image_size
        self._ahead = ahead
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
        pictures = np.stack([future.result() for future in views])
        labels = [self._images.label(int(index)) for index in indices]
        return torch.from_numpy(pictures), torch.tensor(labels)


def normalised(pictures_nhwc: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures (N, H, W, 3) as the model's input (N, 3, H, W) in channels_last, on the device."""
    floats_nhwc = pictures_nhwc.to(device, non_blocking=True).to(torch.float32)
    mean = torch.tensor(_MEAN, device=device)
    std = torch.tensor(_STD, device=device)
    return ((floats_nhwc - mean) / std).permute(0, 3, 1, 2)
