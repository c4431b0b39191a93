from __future__ import annotations

import pytest
import torch
from torch import nn

from hpcai.train.resnet import Bottleneck, Pointwise, build_model


def test_resnet50_has_the_published_size_and_names() -> None:
    with torch.device("meta"):
        model = build_model("resnet50", 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032
    names = dict(model.state_dict())
    # Names and shapes of torchvision.models.resnet50().
    assert names["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert names["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert names["layer4.2.bn3.running_var"].shape == (2048,)
    assert names["fc.bias"].shape == (1000,)
    assert len(names) == 320


def test_resnet18_has_the_published_size() -> None:
    with torch.device("meta"):
        model = build_model("resnet18", 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    assert len(model.state_dict()) == 122


def test_the_stride_is_in_the_3x3_convolution() -> None:
    with torch.device("meta"):
        block = build_model("resnet50", 10).layer2[0]
    assert isinstance(block, Bottleneck)
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)


def test_every_block_begins_as_the_identity() -> None:
    model = build_model("resnet18", 10)
    blocks = [block for name, block in model.named_modules() if name.count(".") == 1 and "layer" in name]
    assert len(blocks) == 8
    for block in blocks:
        norm = block.last_norm
        assert isinstance(norm, nn.BatchNorm2d)
        assert not norm.weight.any()


def test_logits_have_one_column_per_class() -> None:
    assert build_model("resnet18", 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_pointwise_convolution_is_a_convolution(stride: int, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours = Pointwise(6, 10, stride).to(memory_format=memory_format)
    theirs = nn.Conv2d(6, 10, 1, stride, bias=False)
    theirs.load_state_dict(ours.state_dict())
    pictures = torch.randn(2, 6, 7, 8).contiguous(memory_format=memory_format)
    out, expected = ours(pictures), theirs(pictures)
    torch.testing.assert_close(out, expected)
    for result in (out, expected):
        result.square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert ours.weight.grad is not None
    assert ours.weight.grad.flatten().shape == (60,)


def test_a_strided_pointwise_convolution_is_one_product_of_matrices_without_autograd() -> None:
    ours = Pointwise(6, 10, 2).to(memory_format=torch.channels_last)
    pictures = torch.randn(2, 6, 8, 8).contiguous(memory_format=torch.channels_last)
    # As inside the network, where the layer before has made bf16 already.
    pictures = pictures.bfloat16()
    bf16, cpu = torch.autocast("cpu", torch.bfloat16), torch.profiler.ProfilerActivity.CPU
    with torch.inference_mode(), bf16, torch.profiler.profile(activities=[cpu]) as profile:
        out = ours(pictures)
    names = {event.key for event in profile.key_averages()}
    assert "aten::mm" in names
    assert "aten::bmm" not in names
    assert out.is_contiguous(memory_format=torch.channels_last)
