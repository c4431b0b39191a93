"""ResNet-18 and ResNet-50 v1.5 with torchvision's parameter names, so that weights can be exchanged.

v1.5 has the stride of a bottleneck in its 3x3 convolution (NVIDIA, DeepLearningExamples), where the paper
(He et al. 2015, arXiv:1512.03385) has it in the first 1x1.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x_nchw: Tensor) -> Tensor:
        if x_nchw.device.type != "cpu":
            return super().forward(x_nchw)
        # On a CPU a product of matrices in channels_last takes a sixth off a whole step of ResNet-50.
        step = self.stride[0]
        x_nhwc = x_nchw[:, :, ::step, ::step].permute(0, 2, 3, 1)
        # Flattened: without autograd torch makes one product per row of a strided picture, each with its own
        # copy of the weights.
        out_nhwc = functional.linear(x_nhwc.flatten(0, 2), self.weight.flatten(1))
        return out_nhwc.view(*x_nhwc.shape[:3], -1).permute(0, 3, 1, 2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion: ClassVar[int] = 1

    def __init__(self, channels_in: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x_nchw: Tensor) -> Tensor:
        shortcut = x_nchw if self.downsample is None else self.downsample(x_nchw)
        out_nchw = self.relu(self.bn1(self.conv1(x_nchw)))
        out_nchw = self.bn2(self.conv2(out_nchw))
        result: Tensor = self.relu(out_nchw.add_(shortcut))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = Pointwise(channels_in, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Pointwise(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x_nchw: Tensor) -> Tensor:
        shortcut = x_nchw if self.downsample is None else self.downsample(x_nchw)
        out_nchw = self.relu(self.bn1(self.conv1(x_nchw)))
        out_nchw = self.relu(self.bn2(self.conv2(out_nchw)))
        out_nchw = self.bn3(self.conv3(out_nchw))
        result: Tensor = self.relu(out_nchw.add_(shortcut))
        return result


Block = type[BasicBlock] | type[Bottleneck]


class ResNet(nn.Module):
    """Images (N, 3, H, W), normalised, to logits (N, K)."""

    def __init__(self, block: Block, depths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        self._channels = 64
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(block, 64, depths[0], stride=1)
        self.layer2 = self._stage(block, 128, depths[1], stride=2)
        self.layer3 = self._stage(block, 256, depths[2], stride=2)
        self.layer4 = self._stage(block, 512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self._initialise()

    def _stage(self, block: Block, width: int, depth: int, *, stride: int) -> nn.Sequential:
        channels_out = width * block.expansion
        downsample = None
        if stride != 1 or self._channels != channels_out:
            downsample = nn.Sequential(
                Pointwise(self._channels, channels_out, stride), nn.BatchNorm2d(channels_out)
            )
        blocks = [block(self._channels, width, stride, downsample)]
        self._channels = channels_out
        blocks += [block(channels_out, width, 1, None) for _ in range(1, depth)]
        return nn.Sequential(*blocks)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, (BasicBlock, Bottleneck)):
                # Each block starts as the identity, which makes the first steps at a large rate safe
                # (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
                nn.init.zeros_(module.last_norm.weight)

    def forward(self, x_nchw: Tensor) -> Tensor:
        x_nchw = self.maxpool(self.relu(self.bn1(self.conv1(x_nchw))))
        x_nchw = self.layer4(self.layer3(self.layer2(self.layer1(x_nchw))))
        logits_nk: Tensor = self.fc(torch.flatten(self.avgpool(x_nchw), 1))
        return logits_nk


_SHAPES: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def build_model(name: str, num_classes: int) -> ResNet:
    """A model with fresh weights, drawn from torch's global generator."""
    block, depths = _SHAPES[name]
    return ResNet(block, depths, num_classes)
