"""Medians, intervals and scaling against cases that are known by hand."""

from __future__ import annotations

import math
import random
import time

import pytest

from hpcai.report.statistics import (
    Throughput,
    is_short,
    scaling,
    smells,
    steady_window,
    throughput,
    usual_length,
)


def point(nodes: int, values: list[float], labels: tuple[str, ...] = ("run",)) -> Throughput:
    found = throughput(nodes, labels, [[values]])
    assert found is not None
    return found


def noisy(centre: float, count: int = 200, spread: float = 0.02, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [centre * rng.gauss(1, spread) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "left_out"), [(0, 0), (1, 0), (2, 1), (5, 1), (10, 1), (11, 2), (100, 10), (101, 11)]
)
def test_the_warm_up_is_a_tenth_and_at_least_one(count: int, left_out: int) -> None:
    values = [float(number) for number in range(count)]
    assert steady_window(values) == (values[left_out:], left_out)


def test_values_that_are_no_numbers_are_left_out_and_counted() -> None:
    assert steady_window([1.0, 2.0, math.nan, 3.0, math.inf]) == ([2.0, 3.0], 3)


def test_the_usual_length_of_many_windows_takes_no_time() -> None:
    lengths = list(range(1, 40_001))
    begin = time.process_time()
    assert usual_length(lengths) == 28_285
    assert time.process_time() - begin < 1


def test_each_attempt_has_a_warm_up_of_its_own() -> None:
    found = throughput(2, ["run"], [[[1.0, 10.0, 10.0], [1.0, 12.0, 12.0]]])
    assert found is not None
    assert (found.estimate.median, found.estimate.n, found.left_out) == (11.0, 4, 2)


@pytest.mark.parametrize(
    ("lengths", "usual", "short"),
    [
        ([10, 10, 10, 10, 2], 10, [2]),
        ([10, 4, 10, 4], 10, [4, 4]),
        ([10, 6, 10, 6], 10, []),
        ([0, 1, 1, 1], 1, []),
        ([1] * 30 + [100] * 20, 100, [1] * 30),
        ([], 0, []),
    ],
)
def test_windows_over_few_steps_are_short(lengths: list[int], usual: int, short: list[int]) -> None:
    assert usual_length(lengths) == usual
    assert [length for length in lengths if is_short(length, usual)] == short


def test_no_values_are_no_throughput() -> None:
    assert throughput(1, ["run"], []) is None
    assert throughput(1, ["run"], [[[], [math.nan]]]) is None


def test_few_values_have_a_median_and_no_interval() -> None:
    found = point(1, [1.0, 10.0, 11.0, 12.0])
    assert (found.estimate.median, found.estimate.interval) == (11.0, None)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        low, high = point(1, noisy(100.0, 80, seed=seed)).estimate.interval or (0.0, 0.0)
        hits += low <= 100.0 <= high
    assert hits >= 50


def repeats(seed: int, count: int = 3, nodes: int = 1) -> Throughput:
    """Runs that differ by 2 % from each other, each of 60 values that differ by 1 %."""
    rng = random.Random(seed)
    runs = [[noisy(100 * rng.gauss(1, 0.02), 60, 0.01, seed=rng.randrange(10**9))] for _ in range(count)]
    found = throughput(nodes, ["run"] * count, runs)
    assert found is not None
    return found


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_interval_between_runs_covers_the_truth_as_often_as_it_says(count: int) -> None:
    hits = 0
    for seed in range(300):
        estimate = repeats(seed, count).estimate
        low, high = estimate.interval or (0.0, 0.0)
        assert estimate.is_between_runs
        hits += low <= 100.0 <= high
    assert 0.91 <= hits / 300 <= 0.99


def test_the_interval_of_the_efficiency_between_runs_covers_the_truth() -> None:
    hits = 0
    for seed in range(300):
        found = scaling(repeats(seed), repeats(seed + 1000, nodes=2)).efficiency
        low, high = found.interval or (0.0, 0.0)
        assert found.is_between_runs
        hits += low <= 0.5 <= high
    assert 0.91 <= hits / 300 <= 1.0


@pytest.mark.parametrize(("few", "many"), [(1, 1), (1, 3), (3, 1)])
def test_with_one_run_on_a_side_the_efficiency_has_only_a_range(few: int, many: int) -> None:
    found = scaling(repeats(1, few), repeats(2, many, nodes=2)).efficiency
    low, high = found.interval or (0.0, 0.0)
    assert not found.is_between_runs
    assert low < found.median < high


def test_values_that_drift_have_a_wider_interval_than_shuffled_ones() -> None:
    drifting = [100 + 20 * math.sin(number / 40) for number in range(300)]
    shuffled = drifting[:]
    random.Random(1).shuffle(shuffled)
    widths = []
    for values in (drifting, shuffled):
        low, high = point(1, values).estimate.interval or (0.0, 0.0)
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_the_same_values_give_the_same_interval() -> None:
    assert point(2, noisy(100)).estimate == point(2, noisy(100)).estimate


def test_scaling_is_against_the_fewest_nodes() -> None:
    found = scaling(point(1, noisy(100)), point(4, noisy(300, seed=2)))
    assert found.speedup == pytest.approx(3.0, rel=0.02)
    assert found.efficiency.median == pytest.approx(0.75, rel=0.02)
    low, high = found.efficiency.interval or (0.0, 0.0)
    assert low < found.efficiency.median < high
    assert high - low < 0.03


def test_scaling_from_a_base_of_several_nodes() -> None:
    found = scaling(point(2, [100.0] * 20), point(8, [300.0] * 20))
    assert (found.speedup, found.efficiency.median, found.efficiency.interval) == (3.0, 0.75, (0.75, 0.75))


def test_good_scaling_smells_of_nothing() -> None:
    points = [point(1, noisy(100)), point(2, noisy(195)), point(4, noisy(370))]
    assert smells(points[0], [scaling(points[0], other) for other in points[1:]], points) == []


@pytest.mark.parametrize(
    ("speeds", "says"),
    [
        ([100, 95], "2 nodes are no faster than 1 node."),
        ([100, 130, 390], "Efficiency rises from 65 % at 2 nodes to 98 % at 4 nodes"),
        ([100, 250], "Efficiency rises from 100 % at 1 node to 125 % at 2 nodes"),
    ],
)
def test_scaling_that_is_not_monotone_smells(speeds: list[int], says: str) -> None:
    points = [point(2**place, [float(speed)] * 20) for place, speed in enumerate(speeds)]
    found = smells(points[0], [scaling(points[0], other) for other in points[1:]], points)
    assert any(sentence.startswith(says) for sentence in found), found


def test_a_wide_interval_smells() -> None:
    points = [point(1, noisy(100, 12, spread=0.4))]
    assert "wider than 10 %" in "".join(smells(points[0], [], points))
