from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcai.train.sampler import Sampler, held_out_batches

SIZES = st.integers(1, 7)


def samplers(samples: int, batch_size: int, size: int, seed: int = 0) -> list[Sampler]:
    return [Sampler(samples, batch_size, rank, size, seed) for rank in range(size)]


@given(samples=st.integers(1, 200), batch_size=st.integers(1, 9), size=SIZES, epoch=st.integers(0, 3))
def test_an_epoch_takes_each_sample_once_at_most_and_leaves_less_than_a_global_batch(
    samples: int, batch_size: int, size: int, epoch: int
) -> None:
    ranks = samplers(samples, batch_size, size)
    steps = [list(rank.batches(epoch)) for rank in ranks]
    taken = [int(index) for batches in steps for batch in batches for index in batch]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(range(samples))
    assert samples - len(taken) < batch_size * size
    assert {len(batches) for batches in steps} == {ranks[0].steps_per_epoch}


@given(steps=st.integers(1, 5), per_rank=st.integers(1, 4))
def test_the_samples_of_a_step_do_not_depend_on_the_number_of_ranks(steps: int, per_rank: int) -> None:
    samples = steps * per_rank * 4 + 1
    [alone] = samplers(samples, per_rank * 4, 1)
    four = samplers(samples, per_rank, 4)
    for together, parts in zip(
        alone.batches(1), zip(*(rank.batches(1) for rank in four), strict=True), strict=True
    ):
        assert together.tolist() == np.concatenate(parts).tolist()


def test_a_resumed_epoch_goes_on_with_the_very_next_batch() -> None:
    sampler = Sampler(samples=50, batch_size=4, rank=1, size=2, seed=3)
    whole = [batch.tolist() for batch in sampler.batches(epoch=2)]
    assert [batch.tolist() for batch in sampler.batches(epoch=2, first_step=4)] == whole[4:]


def test_epochs_and_seeds_shuffle_differently() -> None:
    orders = {
        tuple(np.concatenate(list(Sampler(40, 4, 0, 1, seed).batches(epoch))).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


@given(samples=st.integers(0, 60), batch_size=st.integers(1, 9), size=SIZES)
def test_held_out_samples_come_exactly_once_over_the_ranks(samples: int, batch_size: int, size: int) -> None:
    batches = [batch for rank in range(size) for batch in held_out_batches(samples, batch_size, rank, size)]
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(samples))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
