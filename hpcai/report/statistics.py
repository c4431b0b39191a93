"""Throughput and scaling with their spread: medians and block-bootstrap intervals over a steady window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The part of each attempt's values that counts as warm-up and is left out.
WARM_UP_SHARE = 0.1
CONFIDENCE = 0.95
_RESAMPLES = 2000
# Fixed, so that a report made again is the same report.
_SEED = 20180718
_FEWEST_FOR_INTERVAL = 5
_RISE_THAT_SMELLS = 0.05
_WIDTH_THAT_SMELLS = 0.1


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % interval, which is None where there are too few values for one."""

    median: float
    interval: tuple[float, float] | None
    n: int


@dataclass(frozen=True)
class Throughput:
    """Images per second of all runs on one number of nodes. `n` of the estimate counts steady values."""

    nodes: int
    labels: tuple[str, ...]
    estimate: Estimate
    steady: tuple[float, ...]
    left_out: int


@dataclass(frozen=True)
class Scaling:
    """How much of the throughput of `base_nodes`, times the nodes, is reached; 1.0 is ideal."""

    nodes: int
    base_nodes: int
    speedup: float
    efficiency: Estimate


def steady_window(values: Sequence[float]) -> tuple[list[float], int]:
    """The finite values of one attempt without its warm-up, and how many values were left out."""
    warm_up = max(1, math.ceil(len(values) * WARM_UP_SHARE)) if len(values) > 1 else 0
    steady = [value for value in values[warm_up:] if math.isfinite(value)]
    return steady, len(values) - len(steady)


def throughput(nodes: int, labels: Sequence[str], attempts: Sequence[Sequence[float]]) -> Throughput | None:
    """The throughput over the steady windows of attempts on the same number of nodes; None without values."""
    windows = [steady_window(values) for values in attempts]
    steady = [value for window, _ in windows for value in window]
    if not steady:
        return None
    return Throughput(
        nodes=nodes,
        labels=tuple(labels),
        estimate=_estimate(steady, _medians(steady, _generator(nodes))),
        steady=tuple(steady),
        left_out=sum(count for _, count in windows),
    )


def scaling(base: Throughput, other: Throughput) -> Scaling:
    """The scaling from the base to more nodes; the interval is of the ratio of independent resamples."""
    factor = base.nodes / other.nodes
    speedup = other.estimate.median / base.estimate.median
    ratios = _medians(other.steady, _generator(other.nodes)) / _medians(base.steady, _generator(-base.nodes))
    n = min(base.estimate.n, other.estimate.n)
    interval = _interval(ratios * factor) if n >= _FEWEST_FOR_INTERVAL else None
    return Scaling(other.nodes, base.nodes, speedup, Estimate(speedup * factor, interval, n))


def smells(base: Throughput, others: Sequence[Scaling], points: Sequence[Throughput]) -> list[str]:
    """What about the scaling looks wrong, one sentence each; the points are in the order of nodes."""
    found = [
        f"{nodes_text(after.nodes)} are no faster than {nodes_text(before.nodes)}."
        for before, after in itertools.pairwise(points)
        if after.estimate.median <= before.estimate.median
    ]
    efficiencies = [(base.nodes, 1.0), *((other.nodes, other.efficiency.median) for other in others)]
    found += [
        f"Efficiency rises from {100 * low:.0f} % at {nodes_text(few)} to {100 * high:.0f} % at "
        f"{nodes_text(many)}; it should only fall, so one of the two is probably not what it says "
        "(another transport, batch or machine)."
        for (few, low), (many, high) in itertools.pairwise(efficiencies)
        if high > low + _RISE_THAT_SMELLS
    ]
    found += [
        f"The interval on {nodes_text(point.nodes)} is wider than 10 % of its median: there are too few "
        "values, or something disturbed the run."
        for point in points
        if _width(point.estimate) > _WIDTH_THAT_SMELLS * point.estimate.median
    ]
    return found


def nodes_text(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def figure_text(value: float) -> str:
    """A value with four significant digits, all of them when there are more before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def _width(estimate: Estimate) -> float:
    return 0.0 if estimate.interval is None else estimate.interval[1] - estimate.interval[0]


def _generator(salt: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, salt % 2**32])


def _estimate(values: Sequence[float], medians: Floats) -> Estimate:
    interval = _interval(medians) if len(values) >= _FEWEST_FOR_INTERVAL else None
    return Estimate(float(np.median(values)), interval, len(values))


def _interval(medians: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)


def _medians(values: Sequence[float], generator: np.random.Generator) -> Floats:
    """The medians of resamples made of blocks of neighbours, because neighbouring values are alike."""
    data = np.asarray(values, dtype=np.float64)
    n = len(data)
    block = max(1, round(math.sqrt(n)))
    blocks = math.ceil(n / block)
    resamples = int(min(_RESAMPLES, max(400, 4_000_000 / n)))
    begins = generator.integers(0, n, size=(resamples, blocks))
    indices = (begins[:, :, None] + np.arange(block)) % n
    sample = data[indices.reshape(resamples, -1)[:, :n]]
    medians: Floats = np.median(sample, axis=1)
    return medians
