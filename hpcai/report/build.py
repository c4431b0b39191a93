"""A report over runs: Markdown with its figures beside it, and one HTML page that stands by itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import StageError, UsageError
from hpcai.report import notes, plots, statistics, tables
from hpcai.report.collect import RunFacts, collect
from hpcai.report.pages import Page, render_html, render_markdown
from hpcai.report.statistics import Scaling, Throughput, figure_text, nodes_text
from hpcai.report.style import shortened
from hpcai.runs.files import write_text
from hpcai.runs.record import Run

REPORTS = "reports"
_LONGEST_NAME = 120
_MOST_CARDS = 3


@dataclass(frozen=True)
class Report:
    """Where a report lies, and what of its records could not be read, a sentence each."""

    markdown_path: Path
    html_path: Path
    figure_paths: tuple[Path, ...]
    problems: tuple[str, ...] = ()


def default_folder(runs: Sequence[Run]) -> Path:
    """<experiment of the first run>/reports/<the runs' names>: beside the runs, and no run itself."""
    names = "+".join(run.name for run in runs)
    # The same names in other experiments are other runs.
    if len(names) > _LONGEST_NAME or len({run.experiment for run in runs}) > 1:
        digest = hashlib.sha256("\n".join(run.ident for run in runs).encode()).hexdigest()[:8]
        names = f"{runs[0].name}+{len(runs) - 1}-{digest}"
    return runs[0].path.parent / REPORTS / names


def build_report(runs: Sequence[Run], out_dir: Path) -> Report:
    """The report of the runs in `out_dir`, made from their records alone; an older one is replaced.

    What cannot be read of a record is left out and told at the top of the page.
    Raises UsageError for no runs, StageError when a file cannot be read or written.
    """
    if not runs:
        raise UsageError("A report needs at least one run.")
    figures = _make_folder(out_dir)
    facts = collect(list(dict.fromkeys(runs)))
    page = make_page(facts)
    for name in plots.NAMES:
        _replace(figures / f"{name}.svg", page.plots[name].file_svg if name in page.plots else None)
    report = Report(
        markdown_path=out_dir / "report.md",
        html_path=out_dir / "report.html",
        figure_paths=tuple(figures / f"{name}.svg" for name in page.plots),
        problems=tuple(page.problems),
    )
    write_text(report.markdown_path, render_markdown(page, _links(facts, out_dir)))
    write_text(report.html_path, render_html(page))
    return report


def _replace(path: Path, text: str | None) -> None:
    """A file with this text; with None whatever an older report left there is removed."""
    if text is not None:
        write_text(path, text)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StageError(f"{str(path)!r} cannot be removed: {error.strerror}.") from error


def _links(facts: Sequence[RunFacts], out_dir: Path) -> list[tuple[str, str | None, str]]:
    """Each run's label with the ways from the report's folder to its spec, if it has one, and its script."""
    return [
        (
            run.label,
            None if run.run.is_bare else os.path.relpath(run.run.paths.spec, out_dir),
            os.path.relpath(run.run.paths.script, out_dir),
        )
        for run in facts
    ]


def _make_folder(out_dir: Path) -> Path:
    figures = out_dir / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(
            f"{str(out_dir)!r} cannot be made: {error.strerror}.", next_step="hpcai report ID -d DIR"
        ) from error
    return figures


def make_page(facts: Sequence[RunFacts]) -> Page:
    """Everything that the page and the Markdown say."""
    points = throughput_points(facts)
    scalings = statistics.scalings(points)
    drawn = plots.all_of(facts, points)
    return Page(
        title=notes.title(facts),
        headline=notes.headline(facts, scalings),
        problems=notes.problems(facts),
        cards=_cards(facts, points, scalings),
        results=tables.results(facts),
        plots={plot.name: plot for plot in drawn},
        throughput=tables.throughput(points, scalings),
        smells=statistics.smells(points[0], scalings, points) if points else [],
        waterfall=tables.waterfall(facts),
        no_time=notes.no_time(facts),
        lost=[(run.label, run.waterfall.lost_s) for run in facts if run.waterfall.lost_s],
        transfers=tables.transfers(facts),
        attempts=tables.attempts(facts),
        last_words=[(f"{run.label}: {one.origin}", one.text) for run in facts for one in run.last_words],
        environment=tables.environment(facts),
        sources=[(run.label, run.spec_text, run.script_text) for run in facts],
        again=notes.again(facts),
        notes=notes.what_the_figures_are(facts, points),
        idents=[run.run.ident for run in facts],
    )


def throughput_points(facts: Sequence[RunFacts]) -> list[Throughput]:
    """The throughput on each number of nodes, fewest nodes first."""
    points = []
    for nodes in sorted({run.nodes for run in facts}):
        with_speed = [run for run in facts if run.nodes == nodes and any(run.speeds)]
        speeds = [run.speeds for run in with_speed]
        point = statistics.throughput(nodes, [run.label for run in with_speed], speeds)
        if point:
            points.append(point)
    return points


def _cards(
    facts: Sequence[RunFacts], points: Sequence[Throughput], scalings: Sequence[Scaling]
) -> list[tuple[str, str, str]]:
    """The figures to see first: (what, figure, its spread or whereabouts)."""
    cards = _accuracy_cards([run for run in facts if run.series.get("top1")])
    for point in points if len(points) <= _MOST_CARDS else (points[0], points[-1]):
        what = f"images/s, {nodes_text(point.nodes)}"
        spread = tables.spread_text(point.estimate, "spread within the run")
        cards.append((what, figure_text(point.estimate.median), spread))
    for scaling in scalings[-1:]:
        spread = tables.spread_text(scaling.efficiency, "range", as_percent=True)
        what = f"efficiency, {scaling.nodes} against {nodes_text(scaling.base_nodes)}"
        cards.append((what, tables.percent(scaling.efficiency.median), spread))
    return cards or [("end", tables.end_text(run), run.label) for run in facts[:_MOST_CARDS]]


def _after_what(run: RunFacts) -> str:
    epochs = tables.epochs_text(run)
    after = "" if epochs == tables.NONE else f", {epochs} epoch{'' if epochs == '1' else 's'}"
    return f"{nodes_text(run.nodes)}{after}"


def _accuracy_cards(facts: Sequence[RunFacts]) -> list[tuple[str, str, str]]:
    if len(facts) <= _MOST_CARDS:
        what = "held-out top-1"
        return [(f"{what}, {shortened(run.label)}", tables.top1_text(run), _after_what(run)) for run in facts]
    best = max(facts, key=lambda run: run.series["top1"].values[-1])
    return [("best held-out top-1", tables.top1_text(best), best.label)]
