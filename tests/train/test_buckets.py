from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hpcai.train.buckets import GradientBuckets, storage_view


class Ranks:
    """Stands in for the other rank, whose gradients are those of this one plus 1."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def start_sum(self, flat: Tensor, name: str) -> Tensor:
        assert flat.is_contiguous()
        self.names.append(name)
        flat.mul_(2).add_(0.5)
        return flat


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 2))
    return layers.to(memory_format=torch.channels_last)


def backward(model: nn.Module) -> None:
    torch.manual_seed(1)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()


@pytest.mark.parametrize("bucket_bytes", [1, 500, 10**9], ids=["one-per-weight", "some", "one"])
def test_gradients_become_means_in_any_memory_format(bucket_bytes: int) -> None:
    alone, model, ranks = network(), network(), Ranks()
    backward(alone)
    buckets = GradientBuckets(model, 2, ranks.start_sum, lambda handle: handle, bucket_bytes)
    for _ in range(2):
        backward(model)
        buckets.finish()
        for mine, expected in zip(model.parameters(), alone.parameters(), strict=True):
            assert mine.grad is not None and expected.grad is not None
            torch.testing.assert_close(mine.grad, expected.grad + 0.5)
            assert mine.grad.stride() == mine.stride()
        model.zero_grad(set_to_none=True)
    assert len(ranks.names) == 2 * len(set(ranks.names))


def test_a_weight_without_a_gradient_counts_as_zero() -> None:
    model, ranks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), Ranks()
    buckets = GradientBuckets(model, 2, ranks.start_sum, lambda handle: handle)
    model[0](torch.ones(1, 2)).sum().backward()
    buckets.finish()
    assert model[1].weight.grad is not None
    assert model[1].weight.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_removed_buckets_leave_gradients_alone() -> None:
    model, ranks = network(), Ranks()
    GradientBuckets(model, 2, ranks.start_sum, lambda handle: handle).remove()
    backward(model)
    assert not ranks.names


def test_only_float32_weights_are_taken() -> None:
    with pytest.raises(ValueError, match=r"must be float32, not torch\.bfloat16"):
        GradientBuckets(nn.Linear(2, 2, dtype=torch.bfloat16), 2, Ranks().start_sum, lambda handle: handle)


def test_the_flat_view_shares_memory_and_refuses_gaps() -> None:
    weights = torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last)
    storage_view(weights).fill_(7)
    assert (weights == 7).all()
    assert storage_view(torch.tensor(5)).tolist() == [5]
    assert storage_view(torch.zeros(3, 1, 1, 2)[:, :, 0]).shape == (6,)
    with pytest.raises(ValueError, match="not dense"):
        storage_view(torch.zeros(4, 4)[:, :2])
    with pytest.raises(ValueError, match="not dense"):
        storage_view(torch.zeros(1, 4).expand(3, 4))
