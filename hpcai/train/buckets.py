"""Gradients gathered into a few flat buffers, each of which one collective call averages over the ranks.

Horovod refuses tensors that are not contiguous, and the gradients of channels_last weights are not. A flat
buffer is, whatever the memory format of the gradients that are laid into it, and few large calls cost less
than one per weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

BUCKET_BYTES = 25 * 1024 * 1024

Handle = Any
StartSum = Callable[[Tensor, str], Handle]


class _Bucket:
    """Weights next to each other in the order in which backward reaches them, and their flat gradient."""

    def __init__(self, name: str, parameters: list[nn.Parameter]) -> None:
        self.name = name
        self.parameters = parameters
        self.flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
        self.views: dict[nn.Parameter, Tensor] = {}
        self.waiting: set[nn.Parameter] = set(parameters)
        offset = 0
        for parameter in parameters:
            self.views[parameter] = _view(self.flat, offset, parameter)
            offset += parameter.numel()


class GradientBuckets:
    """Averages gradients over the ranks while backward still runs.

    After `finish`, every weight's `.grad` is a view into its bucket; set it to None before the next backward.
    """

    def __init__(
        self,
        model: nn.Module,
        size: int,
        start_sum: StartSum,
        wait: Callable[[Handle], object],
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._scale = 1.0 / size
        self._start_sum = start_sum
        self._wait = wait
        self._running: list[Handle] = []
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._buckets = [
            _Bucket(f"gradients-{index}", group)
            for index, group in enumerate(_grouped(reversed(parameters), bucket_bytes))
        ]
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]
            for bucket in self._buckets
            for parameter in bucket.parameters
        ]

    def finish(self) -> None:
        """Waits until every gradient is the mean over the ranks; a weight without one counts as 0."""
        for bucket in self._buckets:
            for parameter in [p for p in bucket.parameters if p in bucket.waiting]:
                parameter.grad = torch.zeros_like(parameter)
                self._take(bucket, parameter)
            bucket.waiting.update(bucket.parameters)
        for handle in self._running:
            self._wait(handle)
        self._running.clear()

    def remove(self) -> None:
        """Leaves the model without hooks."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, bucket: _Bucket) -> Callable[[nn.Parameter], None]:
        return lambda parameter: self._take(bucket, parameter)

    def _take(self, bucket: _Bucket, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        view = bucket.views[parameter]
        torch.mul(parameter.grad, self._scale, out=view)
        parameter.grad = view
        bucket.waiting.discard(parameter)
        if not bucket.waiting:
            self._running.append(self._start_sum(bucket.flat, bucket.name))


def _grouped(parameters: Iterable[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    groups: list[list[nn.Parameter]] = [[]]
    filled = 0
    for parameter in parameters:
        if parameter.dtype != torch.float32:
            raise ValueError(f"weights must be float32, not {parameter.dtype}: autocast computes in bf16")
        groups[-1].append(parameter)
        filled += parameter.numel() * parameter.element_size()
        if filled >= bucket_bytes:
            groups.append([])
            filled = 0
    return [group for group in groups if group]


def _view(flat: Tensor, offset: int, like: Tensor) -> Tensor:
    """A part of `flat` with the shape and the memory format of `like`."""
    _require_dense(like)
    return flat.as_strided(like.shape, like.stride(), offset)


def storage_view(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor as a contiguous vector in the order of memory; shares them.

    Raises ValueError when elements overlap or leave gaps.
    """
    _require_dense(tensor)
    return tensor.as_strided((tensor.numel(),), (1,))


def _require_dense(tensor: Tensor) -> None:
    expected = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length != 1 and stride != expected:
            raise ValueError(
                f"a tensor of shape {tuple(tensor.shape)} and strides {tensor.stride()} is not dense"
            )
        expected *= length
