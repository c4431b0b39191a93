"""Throughput and scaling with their spread over a steady window.

Between runs an interval is Student's over the runs' medians: values of one run say nothing about another
run, and resampling two or three runs gives intervals that are too narrow. Of a single run only the spread
within it is known, from a block bootstrap over its values.
"""

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
# The 97.5 % points of Student's t for 1, 2, ... 30 degrees of freedom; beyond, the last is a little wide.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Estimate:
    """A median, of several runs the geometric mean of their medians, with its spread.

    `interval` is a 95 % interval between runs when there are several, else the spread within the run;
    None where there are too few values for it. `n` counts values.
    """

    median: float
    interval: tuple[float, float] | None
    n: int
    runs: int = 1

    @property
    def is_between_runs(self) -> bool:
        """Whether the interval says how another run would differ."""
        return self.runs > 1


@dataclass(frozen=True)
class Throughput:
    """Images per second of all runs on one number of nodes; one of `medians` per run."""

    nodes: int
    labels: tuple[str, ...]
    estimate: Estimate
    medians: tuple[float, ...]
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


def usual_length(lengths: Sequence[int]) -> int:
    """The length in steps of a usual window: half of all steps lie in windows that are no shorter."""
    ordered = sorted((length for length in lengths if length > 0), reverse=True)
    total = sum(ordered)
    reached = zip(ordered, itertools.accumulate(ordered), strict=True)
    return next((length for length, steps in reached if 2 * steps >= total), 0)


def is_short(length: int, usual: int) -> bool:
    """Whether a window (the rest of an epoch) has too few steps to count as much as the others."""
    return 0 < length < usual / 2


def throughput(
    nodes: int, labels: Sequence[str], runs: Sequence[Sequence[Sequence[float]]]
) -> Throughput | None:
    """The throughput over the steady windows of runs on the same number of nodes; None without values.

    A run is its attempts, each a list of values.
    """
    windows = [[steady_window(values) for values in attempts] for attempts in runs]
    per_run = [[value for window, _ in attempts for value in window] for attempts in windows]
    per_run = [values for values in per_run if values]
    if not per_run:
        return None
    return Throughput(
        nodes=nodes,
        labels=tuple(labels),
        estimate=_estimate(per_run, nodes),
        medians=tuple(float(np.median(values)) for values in per_run),
        steady=tuple(value for values in per_run for value in values),
        left_out=sum(count for attempts in windows for _, count in attempts),
    )


def scalings(points: Sequence[Throughput]) -> list[Scaling]:
    """The scaling from the first point to each other one; none from a base that did nothing."""
    if not points or points[0].estimate.median <= 0:
        return []
    return [scaling(points[0], point) for point in points[1:]]


def scaling(base: Throughput, other: Throughput) -> Scaling:
    """The scaling from the base to more nodes: a 95 % interval between runs, a range with one on a side."""
    factor = base.nodes / other.nodes
    speedup = other.estimate.median / base.estimate.median
    n = min(base.estimate.n, other.estimate.n)
    runs = min(base.estimate.runs, other.estimate.runs)
    efficiency = speedup * factor
    interval = _combined(efficiency, base.estimate, other.estimate)
    if runs > 1:
        interval = _around(efficiency, _difference_reach(base.medians, other.medians))
    return Scaling(other.nodes, base.nodes, speedup, Estimate(efficiency, interval, n, runs))


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
        "values or runs, or something disturbed them."
        for point in points
        if _width(point.estimate) > _WIDTH_THAT_SMELLS * point.estimate.median
    ]
    return found


def spread_word(estimate: Estimate, within: str = "spread within the run") -> str:
    """What the interval of the estimate is: it speaks of other runs only when there were several."""
    return "95 % interval" if estimate.is_between_runs else within


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


def _estimate(per_run: Sequence[Sequence[float]], salt: int) -> Estimate:
    n = sum(map(len, per_run))
    medians = [float(np.median(values)) for values in per_run]
    if len(per_run) > 1 and min(medians) > 0:
        centre = math.exp(float(np.mean(np.log(medians))))
        return Estimate(centre, _around(centre, _reach(medians)), n, len(per_run))
    values = [value for one in per_run for value in one]
    interval = _interval(_medians(values, _generator(salt))) if n >= _FEWEST_FOR_INTERVAL else None
    return Estimate(float(np.median(values)), interval, n)


def _around(centre: float, reach: float) -> tuple[float, float]:
    return centre * math.exp(-reach), centre * math.exp(reach)


def _reach(medians: Sequence[float]) -> float:
    """How far the 95 % interval reaches to either side, in logarithms."""
    degrees = len(medians) - 1
    return _student(degrees) * math.sqrt(_variance_of_mean(medians))


def _difference_reach(base: Sequence[float], other: Sequence[float]) -> float:
    """The same for the ratio of two groups of runs, whose spreads may differ (Welch)."""
    variances = [_variance_of_mean(base), _variance_of_mean(other)]
    whole = sum(variances)
    if whole == 0:
        return 0.0
    parts = zip(variances, (base, other), strict=True)
    degrees = whole**2 / sum(variance**2 / (len(medians) - 1) for variance, medians in parts)
    return _student(int(degrees)) * math.sqrt(whole)


def _variance_of_mean(medians: Sequence[float]) -> float:
    return float(np.var(np.log(medians), ddof=1)) / len(medians)


def _student(degrees: int) -> float:
    return _STUDENT[min(max(degrees, 1), len(_STUDENT)) - 1]


def _combined(centre: float, base: Estimate, other: Estimate) -> tuple[float, float] | None:
    """The range of a ratio from those of its two sides, which vary on their own; None when one has none."""
    if base.interval is None or other.interval is None or min(*base.interval, *other.interval) <= 0:
        return None
    down = math.hypot(math.log(other.median / other.interval[0]), math.log(base.interval[1] / base.median))
    up = math.hypot(math.log(other.interval[1] / other.median), math.log(base.median / base.interval[0]))
    return centre * math.exp(-down), centre * math.exp(up)


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
