"""One process, which is all ranks by itself."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from torch import Tensor, nn

from hpcai.train.world import World

T = TypeVar("T")


class Single:
    """The communicator of a world of one."""

    name = "single"

    def __init__(self, world: World) -> None:
        self.world = world

    def prepare(self, model: nn.Module) -> nn.Module:
        return model

    def finish_gradients(self) -> None:
        return

    def sum(self, values: Tensor) -> Tensor:
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        del tensors

    def broadcast_object(self, value: T) -> T:
        return value

    def errors(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        return
