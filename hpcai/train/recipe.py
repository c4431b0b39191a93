"""How the weights learn: presets with their sources, the learning rate of each step, and the optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# How the names of the last layer's weights begin, in ours and in torchvision's ResNets.
CLASSIFIER = "fc."


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes learning but the data and the model.

    `base_lr` is for a global batch of 256; the peak rate grows in proportion to the global batch
    (Goyal et al. 2017, arXiv:1706.02677).
    """

    base_lr: float
    classifier_lr: float
    """The rate of the last layer over that of the others."""
    momentum: float
    nesterov: bool
    weight_decay: float
    label_smoothing: float
    warmup_epochs: float
    smallest_crop: float
    """Least part of an image's area that a training crop keeps."""
    widest_crop_ratio: float
    """Width over height of a training crop lies between this and its inverse."""
    flip: bool
    """Whether half of the training images are mirrored: wrong for digits and text."""
    eval_crop: float
    """Part of the shorter side that the centre crop of a held-out image keeps."""


RECIPES = {
    # For a few thousand small pictures of marks that have a right way round, such as digits: every
    # held-out picture is seen whole. Found by trying: benchmarks/records/digits_recipe.md.
    "small": Recipe(
        base_lr=1.6,
        # At the full rate it makes the loss of the first epoch climb far above that of guessing.
        classifier_lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        label_smoothing=0.1,
        warmup_epochs=1.0,
        smallest_crop=0.6,
        widest_crop_ratio=6 / 5,
        flip=False,
        eval_crop=1.0,
    ),
    # NVIDIA DeepLearningExamples, PyTorch/Classification/ConvNets: resnet50v1.5/README.md and configs.yml,
    # for 90 epochs. Nobody has trained with it here; docs/fidelity.md tells what is not theirs.
    "imagenet": Recipe(
        base_lr=0.256,
        classifier_lr=1.0,
        momentum=0.875,
        nesterov=False,
        weight_decay=1 / 32768,
        label_smoothing=0.1,
        warmup_epochs=8.0,
        smallest_crop=0.08,
        widest_crop_ratio=4 / 3,
        flip=True,
        eval_crop=0.875,
    ),
}


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step: linear warm-up, then half a cosine down to zero."""

    peak_lr: float
    warmup_steps: int
    total_steps: int

    def lr(self, step: int) -> float:
        """The rate of a step, counted from 0 over the whole training."""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.peak_lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def schedule_of(recipe: Recipe, *, global_batch: int, steps_per_epoch: int, epochs: int) -> Schedule:
    """The schedule of a recipe at this size; a short training warms up for at most half of it."""
    total_steps = steps_per_epoch * epochs
    warmup_steps = min(round(recipe.warmup_epochs * steps_per_epoch), total_steps // 2)
    return Schedule(recipe.base_lr * global_batch / 256, warmup_steps, total_steps)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with momentum; norms and biases, which are the vectors, do not decay."""
    alike: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr_ratio = recipe.classifier_lr if name.startswith(CLASSIFIER) else 1.0
            weight_decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            alike.setdefault((lr_ratio, weight_decay), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": weight_decay, "lr_ratio": lr_ratio}
        for (lr_ratio, weight_decay), parameters in alike.items()
    ]
    # fused: one pass over the weights instead of six, 20 ms instead of 54 for ResNet-50 on one core.
    return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The rate of the next step; the classifier's is a part of it, as its recipe says."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_ratio"]


def momentum_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The velocity of every weight by its name, made as zeros where no step has been done yet."""
    velocities = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            velocities[name] = state["momentum_buffer"]
    return velocities
