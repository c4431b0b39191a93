"""Going on from a checkpoint, which rank 0 alone reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from hpcai.train import checkpoint as checkpoints
from hpcai.train.checkpoint import Checkpoint, Position, Setting
from hpcai.train.comm import Communicator, together
from hpcai.train.rank import Rank
from hpcai.train.recipe import momentum_of


def find_checkpoint(rank: Rank, setting: Setting) -> Checkpoint | None:
    """The checkpoint to go on from, on rank 0; None on the other ranks and when there is nothing to resume.

    Raises UsageError for a checkpoint of another training, StageError for a damaged one, on every rank.
    """
    return together(rank.comm, lambda: _newest(rank, setting))


def _newest(rank: Rank, setting: Setting) -> Checkpoint | None:
    if rank.number or not rank.options.resume:
        return None
    found, damage = checkpoints.newest(rank.options.outputs)
    if damage:
        rank.records.say(f"{damage}\nGoing on from the one before it.")
    if found:
        checkpoints.require_same(found, setting, rank.options.precision)
    return found


def restore(
    comm: Communicator, found: Checkpoint | None, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Position, str | None]:
    """Position and precision of rank 0's checkpoint, on every rank; without one the beginning and None.

    Afterwards every rank has the velocities, and rank 0 the weights: `Communicator.prepare` spreads those.
    """
    head: tuple[dict[str, Any], str] | None = (asdict(found.position), found.precision) if found else None
    head = comm.broadcast_object(head)
    if head is None:
        return Position(), None
    momentum = momentum_of(optimizer, model)
    if found:
        model.load_state_dict(found.model)
        for name, velocity in momentum.items():
            velocity.copy_(found.momentum[name])
    comm.broadcast(momentum.values())
    return Position(**head[0]), head[1]
