"""bf16 or fp32: which one this machine is faster with, found out by trying."""

from __future__ import annotations

import copy
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpcai.train.comm import Communicator

_WARM_UP_STEPS = 1
_TIMED_STEPS = 2


@dataclass(frozen=True)
class Probe:
    """What computing one step took, mean over the ranks."""

    bf16_s: float
    fp32_s: float

    @property
    def faster(self) -> str:
        return "bf16" if self.bf16_s < self.fp32_s else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Computes in bf16 inside where the precision says so; weights and gradients stay fp32."""
    # Horovod cannot sum bf16 tensors, and small updates would be lost in bf16 weights.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def probe(comm: Communicator, model: nn.Module, batch_nchw: Tensor) -> Probe:
    """The time of a step in both precisions on a copy of the model; the same answer on every rank."""
    trial = copy.deepcopy(model).train()
    fastest_s = dict.fromkeys(("bf16", "fp32"), float("inf"))
    for turn in range(_WARM_UP_STEPS + _TIMED_STEPS):
        # In turns, so that a burst of other work on the machine meets both.
        for precision in fastest_s:
            seconds = _step_s(trial, batch_nchw, precision)
            if turn >= _WARM_UP_STEPS:
                fastest_s[precision] = min(fastest_s[precision], seconds)
    times_s = torch.tensor(list(fastest_s.values()), dtype=torch.float64)
    return Probe(*(comm.sum(times_s) / comm.world.size).tolist())


def _step_s(model: nn.Module, batch_nchw: Tensor, precision: str) -> float:
    labels_n = torch.zeros(len(batch_nchw), dtype=torch.int64, device=batch_nchw.device)
    start = _now(batch_nchw.device)
    with autocast(precision, batch_nchw.device):
        loss = functional.cross_entropy(model(batch_nchw), labels_n)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    return _now(batch_nchw.device) - start


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    # Time on the CPU, over all threads: what else runs on the machine does not count.
    return time.process_time()
