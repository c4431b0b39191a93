from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hpcai.train.options import MODELS, RECIPES
from hpcai.train.recipe import RECIPES as PRESETS
from hpcai.train.recipe import Schedule, build_optimizer, momentum_of, schedule_of, set_lr
from hpcai.train.resnet import build_model


def test_the_options_offer_every_preset_and_model() -> None:
    assert tuple(PRESETS) == RECIPES
    for name in MODELS:
        with torch.device("meta"):
            assert build_model(name, 10)


def test_the_rate_warms_up_in_a_line_and_falls_in_half_a_cosine() -> None:
    schedule = Schedule(peak_lr=0.8, warmup_steps=4, total_steps=12)
    assert [schedule.lr(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert schedule.lr(4) == pytest.approx(0.8)
    assert schedule.lr(8) == pytest.approx(0.4)
    assert schedule.lr(11) == pytest.approx(0.4 * (1 + math.cos(math.pi * 7 / 8)))
    assert schedule.lr(12) == schedule.lr(20) == 0


def test_the_peak_grows_with_the_global_batch() -> None:
    recipe = PRESETS["imagenet"]
    schedule = schedule_of(recipe, global_batch=1024, steps_per_epoch=1251, epochs=90)
    assert schedule.peak_lr == pytest.approx(4 * 0.256)
    assert schedule.warmup_steps == 8 * 1251
    assert schedule.total_steps == 90 * 1251


def test_a_short_training_warms_up_for_half_of_it_at_most() -> None:
    schedule = schedule_of(PRESETS["imagenet"], global_batch=256, steps_per_epoch=10, epochs=2)
    assert schedule.warmup_steps == 10
    assert schedule.lr(9) == pytest.approx(0.256)


def test_norms_and_biases_do_not_decay() -> None:
    with torch.device("meta"):
        model = build_model("resnet50", 10)
    groups = build_optimizer(model, PRESETS["imagenet"]).param_groups
    decay = {parameter: group["weight_decay"] for group in groups for parameter in group["params"]}
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert decay[module.weight] == pytest.approx(3.0517578e-5)
        if isinstance(module, nn.BatchNorm2d):
            assert decay[module.weight] == decay[module.bias] == 0
    assert decay[model.fc.bias] == 0
    assert len(decay) == len(list(model.parameters()))


def test_each_preset_has_its_form_of_momentum() -> None:
    for preset, nesterov in (("small", True), ("imagenet", False)):
        optimizer = build_optimizer(nn.Linear(2, 2), PRESETS[preset])
        assert [group["nesterov"] for group in optimizer.param_groups] == [nesterov] * len(
            optimizer.param_groups
        )


def test_the_classifier_has_its_own_part_of_the_rate() -> None:
    with torch.device("meta"):
        model = build_model("resnet50", 10)
    for preset, part in (("small", 0.1), ("imagenet", 1.0)):
        optimizer = build_optimizer(model, PRESETS[preset])
        set_lr(optimizer, 0.5)
        rate = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert rate[model.conv1.weight] == rate[model.bn1.bias] == 0.5
        assert rate[model.fc.weight] == rate[model.fc.bias] == pytest.approx(0.5 * part)


def test_a_step_on_channels_last_weights_is_that_of_plain_sgd() -> None:
    weights = {}
    for fused in (True, False):
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        optimizer = build_optimizer(layer, PRESETS["small"])
        if not fused:
            for group in optimizer.param_groups:
                group["fused"] = False
        set_lr(optimizer, 0.1)
        for _ in range(3):
            layer(torch.randn(2, 3, 8, 8)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        weights[fused] = layer.weight.detach()
    torch.testing.assert_close(weights[True], weights[False])


def test_velocities_have_the_memory_format_of_their_weights() -> None:
    layer = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    velocities = momentum_of(build_optimizer(layer, PRESETS["small"]), layer)
    assert set(velocities) == {"weight", "bias"}
    assert velocities["weight"].stride() == layer.weight.stride()
    assert not velocities["weight"].any()
