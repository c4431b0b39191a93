"""The pictures of a report. Each says in its title what it shows and in which unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcai.report import style
from hpcai.report.collect import RunFacts
from hpcai.report.statistics import Throughput, figure_text, nodes_text, spread_word
from hpcai.report.style import Plot
from hpcai.runs.metrics import Series
from hpcai.runs.waterfall import Course

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN, _HEIGHT_IN = 5.2, 3.3
_WIDE_IN = 8.8
# More points than this cannot be seen; the extremes of every stretch are kept.
_MOST_POINTS = 1200
# Up to here every point gets a marker; above, the values stand pale behind their running median.
_FEW_POINTS = 40
_MEDIANS = "Pale: every logged value. Strong: their running median."
_MOST_WORDED_TICKS = 5
# With more bars their figures do not fit into them; the table has them.
_MOST_FIGURES = 3


# Every name that `all_of` may give.
NAMES = ("loss", "top1", "images-per-s", "throughput", "waterfall")


def all_of(facts: Sequence[RunFacts], points: Sequence[Throughput]) -> list[Plot]:
    """Every picture that the runs have figures for."""
    with style.applied():
        drawn = [
            curve(facts, Curve("loss", "loss", "Training loss")),
            curve(facts, Curve("top1", "top1", "Held-out top-1 accuracy (%)", factor=100)),
            curve(
                facts, Curve("images_per_s", "images-per-s", "Throughput over the run (images/s)", floor=0)
            ),
            throughput_bars(points),
            waterfall(facts),
        ]
    return [plot for plot in drawn if plot]


@dataclass(frozen=True)
class Curve:
    """How one metric is drawn; `floor` is where the value axis begins when it has to begin somewhere."""

    metric: str
    name: str
    title: str
    factor: float = 1.0
    floor: float | None = None


def curve(facts: Sequence[RunFacts], what: Curve) -> Plot | None:
    """One metric of every run over its steps or epochs; None when no run has it."""
    shown = [(index, run) for index, run in enumerate(facts) if run.series.get(what.metric)]
    if not shown:
        return None
    # Runs with batches of different size have seen the same pictures at the same epoch, not step.
    by_epoch = all(run.series.get("epoch") for _, run in shown)
    labels = [f"{style.shortened(run.label)} ({nodes_text(run.nodes)})" for _, run in shown]
    legend = style.Legend.of(labels) if len(shown) > 1 else None
    figure, axes = style.new_figure(_WIDTH_IN, _HEIGHT_IN, legend)
    for label, (index, run) in zip(labels, shown, strict=True):
        series = run.series[what.metric]
        xs = _epochs_at(run.series["epoch"], series.steps) if by_epoch else list(map(float, series.steps))
        values = [value * what.factor for value in series.values]
        _draw_curve(axes, xs, values, index, label)
    axes.set_title(what.title)
    axes.set_xlabel("epoch" if by_epoch else "optimizer step")
    axes.locator_params(axis="x", integer=True)
    axes.margins(x=0.02)
    if what.floor is not None:
        axes.set_ylim(bottom=what.floor)
    style.thousands(axes)
    if legend:
        legend.draw(axes)
    ends = [f"{run.label} ends at {run.series[what.metric].values[-1] * what.factor:.4g}" for _, run in shown]
    says = f"{what.title}: {'; '.join(ends)}."
    has_medians = any(len(run.series[what.metric]) > _FEW_POINTS for _, run in shown)
    return Plot(what.name, says, style.to_svg(figure, what.name), caption=_MEDIANS if has_medians else None)


def _draw_curve(axes: Axes, xs: list[float], ys: list[float], index: int, label: str) -> None:
    xs, ys = _thinned(xs, ys)
    look: dict[str, Any] = {"color": style.colour_of(index), "linestyle": style.dash_of(index)}
    if len(xs) <= _FEW_POINTS:
        # Later runs have larger hollow markers, so that a run below them shows through.
        face = "none" if index else style.colour_of(index)
        look |= {"marker": style.marker_of(index), "markersize": 4 + min(index, 2), "markerfacecolor": face}
        axes.plot(xs, ys, label=label, **look)
        return
    axes.plot(xs, ys, color=style.colour_of(index), alpha=0.3, linewidth=0.8)
    axes.plot(xs, _running_median(ys), label=label, **look)


def _epochs_at(epochs: Series, steps: Sequence[int]) -> list[float]:
    """The epoch of each step, in proportion between those that tell it, at their pace after the last."""
    import numpy as np

    pace = epochs.values[-1] / epochs.steps[-1] if epochs.steps[-1] else 0.0
    last = max(epochs.steps[-1], steps[-1]) + 1
    known_steps = [0, *epochs.steps, last]
    known_epochs = [0.0, *epochs.values, epochs.values[-1] + pace * (last - epochs.steps[-1])]
    return [float(epoch) for epoch in np.interp(steps, known_steps, known_epochs)]


def _thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """The points, or the lowest and the highest of every stretch when there are too many."""
    if len(xs) <= _MOST_POINTS:
        return xs, ys
    stretch = -(-len(xs) * 2 // _MOST_POINTS)
    kept: list[int] = []
    for begin in range(0, len(xs), stretch):
        indices = range(begin, min(begin + stretch, len(xs)))
        kept += sorted({min(indices, key=ys.__getitem__), max(indices, key=ys.__getitem__)})
    return [xs[index] for index in kept], [ys[index] for index in kept]


def _running_median(values: Sequence[float]) -> list[float]:
    import numpy as np

    half = max(2, len(values) // 60)
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [float(np.median(window)) for window in windows]


def throughput_bars(points: Sequence[Throughput]) -> Plot | None:
    """Images per second against nodes, with every steady value, the interval and the ideal line.

    None for one number of nodes, which leaves nothing to compare.
    """
    if len(points) < 2:
        return None
    title = "Throughput by number of nodes (images/s)"
    legend = style.Legend(columns=2, rows=2)
    figure, axes = style.new_figure(_WIDTH_IN, _HEIGHT_IN, legend)
    told: set[str] = set()
    for place, point in enumerate(points):
        _draw_bar(axes, place, point, told, has_figure=len(points) <= _MOST_FIGURES)
    _draw_ideal(axes, points)
    axes.set_title(title)
    if len(points) > _MOST_WORDED_TICKS:
        axes.set_xticks(range(len(points)), [str(point.nodes) for point in points])
        axes.set_xlabel("nodes")
    else:
        axes.set_xticks(range(len(points)), [nodes_text(point.nodes) for point in points])
    axes.set_xlim(-0.6, len(points) - 0.4)
    axes.set_ylim(bottom=0)
    style.thousands(axes)
    legend.draw(axes)
    medians = [f"{figure_text(point.estimate.median)} on {nodes_text(point.nodes)}" for point in points]
    return Plot("throughput", f"{title}: {', '.join(medians)}.", style.to_svg(figure, "throughput"))


def _draw_ideal(axes: Axes, points: Sequence[Throughput]) -> None:
    base = points[0]
    ideal = [base.estimate.median * point.nodes / base.nodes for point in points]
    label = "ideal (nodes × first bar)"
    axes.plot(range(len(points)), ideal, color=style.INK, linestyle=(0, (4, 3)), linewidth=1.2, label=label)
    axes.plot(range(1, len(points)), ideal[1:], "_", color=style.INK, markersize=24)


def _draw_bar(axes: Axes, place: int, point: Throughput, told: set[str], *, has_figure: bool) -> None:
    def once(label: str) -> str | None:
        if label in told:
            return None
        told.add(label)
        return label

    estimate = point.estimate
    axes.bar(place, estimate.median, width=0.46, color=style.SERIES[0], label=once("median, steady window"))
    values = point.steady[:: max(1, len(point.steady) // 150)]
    # The golden ratio spreads the dots evenly; chance would make every report another one.
    places = [place + 0.28 + 0.1 * ((index * 0.618034) % 1) for index in range(len(values))]
    dots: dict[str, Any] = {"markersize": 2.8, "alpha": 0.55, "markeredgewidth": 0, "color": style.MUTED}
    axes.plot(places, values, "o", label=once("logged values"), **dots)
    if estimate.interval:
        low, high = estimate.interval
        errors = [[max(0.0, estimate.median - low)], [max(0.0, high - estimate.median)]]
        whisker: dict[str, Any] = {"color": style.INK, "capsize": 7, "linewidth": 1.6}
        axes.errorbar(place, estimate.median, yerr=errors, label=once(spread_word(estimate)), **whisker)
    if not has_figure:
        return
    # At the foot of the bar, where no whisker reaches.
    says: dict[str, Any] = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
    axes.annotate(figure_text(estimate.median), (place, 0), color=style.PAPER, fontweight="bold", **says)


@dataclass(frozen=True)
class TimeUnit:
    """The unit of a time axis."""

    name: str
    sign: str
    seconds: float


def waterfall(facts: Sequence[RunFacts]) -> Plot | None:
    """One bar per attempt from submission to its end, in time since its run was submitted."""
    rows = [(run, course) for run in facts for course in run.waterfall.courses if course.stages]
    if not rows:
        return None
    longest_s = max((run.waterfall.end or 0) - (run.waterfall.begin or 0) for run, _ in rows)
    unit = _time_unit(longest_s)
    title = f"Where the time went ({unit.name} since submission)"
    figure, axes = style.new_figure(_WIDE_IN, 1.35 + 0.42 * len(rows), None)
    for row, (run, course) in enumerate(rows):
        _draw_course(axes, row, course, run.waterfall.begin or 0.0, unit)
    axes.set_title(title)
    axes.set_yticks(range(len(rows)), [_row_label(run, course) for run, course in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    # Slurm tells whole seconds: a script may have taken none.
    axes.set_xlim(0, (longest_s / unit.seconds or 1) * 1.16)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=style.INK)
    _stage_legend(axes, [course for _, course in rows])
    lengths = [f"{_row_label(run, course)} took {_how_it_ended(course, unit)}" for run, course in rows]
    says = f"{title}: {'; '.join(lengths)}."
    return Plot("waterfall", says, style.to_svg(figure, "waterfall"), is_wide=True)


def _time_unit(longest_s: float) -> TimeUnit:
    if longest_s < 600:
        return TimeUnit("seconds", "s", 1.0)
    return TimeUnit("minutes", "min", 60.0) if longest_s < 4 * 3600 else TimeUnit("hours", "h", 3600.0)


def _row_label(run: RunFacts, course: Course) -> str:
    if len(run.waterfall.courses) == 1:
        return style.shortened(run.label)
    return f"{style.shortened(run.label)}, attempt {course.attempt.number}"


def _draw_course(axes: Axes, row: int, course: Course, begin: float, unit: TimeUnit) -> None:
    for stage in course.stages:
        left = (stage.begin - begin) / unit.seconds
        axes.barh(row, stage.seconds / unit.seconds, left=left, height=0.56, color=style.STAGES[stage.name])
    if course.lost:
        left, length = (course.lost.begin - begin) / unit.seconds, course.lost.seconds / unit.seconds
        axes.barh(row + 0.38, length, left=left, height=0.1, color=style.STAGES["lost"])
    end = (course.stages[-1].end - begin) / unit.seconds
    says: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(_how_it_ended(course, unit), (end, row), **says)


def _how_it_ended(course: Course, unit: TimeUnit) -> str:
    """The length of the attempt, and its end cause when that is another than `completed`."""
    length = f"{sum(stage.seconds for stage in course.stages) / unit.seconds:.3g} {unit.sign}"
    cause = course.attempt.cause
    if cause == "completed":
        return length
    return f"{length}, {cause.replace('_', ' ') if cause else 'not ended yet'}"


def _stage_legend(axes: Axes, courses: Sequence[Course]) -> None:
    from matplotlib.patches import Patch

    seen = {stage.name for course in courses for stage in course.stages}
    if any(course.lost for course in courses):
        seen.add("lost")
    handles = [Patch(color=colour, label=name) for name, colour in style.STAGES.items() if name in seen]
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=1.2)
