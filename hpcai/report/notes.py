"""What a report says in sentences: the headline, and what its figures are and are not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from hpcai.launch.again import submit_again
from hpcai.report.collect import RunFacts
from hpcai.report.statistics import WARM_UP_SHARE, Scaling, Throughput, nodes_text, spread_word
from hpcai.report.tables import end_text, percent, top1_text

_FEW_RUNS = 4
# What runs of one comparison may differ in without being unlike.
_OWN_FIELDS = frozenset(
    {"schema_version", "name", "experiment", "nodes", "comment", "time_min", "samples", "scheduled_events"}
)


def title(facts: Sequence[RunFacts]) -> str:
    """The page's name."""
    names = names_of([run.label for run in facts])
    # Labels that leave out what all names begin with do not say it themselves.
    return f"{facts[0].run.experiment}: {names}" if names.startswith("…") else names


def names_of(labels: Sequence[str]) -> str:
    """Labels as words: `a`, `a and b`, `a, b and c`; of many only the first two."""
    if len(labels) == 1:
        return labels[0]
    if len(labels) > 4:
        return f"{labels[0]}, {labels[1]} and {len(labels) - 2} more"
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def headline(facts: Sequence[RunFacts], scalings: Sequence[Scaling]) -> list[str]:
    """A few sentences: what ran, what it reached, and how the throughput scales to the most nodes."""
    few = len(facts) <= _FEW_RUNS
    sentences = [_run_sentence(run) for run in facts] if few else [_ends_sentence(facts), *_best(facts)]
    for scaling in scalings[-1:]:
        low_high = scaling.efficiency.interval
        word = spread_word(scaling.efficiency, "range")
        spread = f" ({word} {percent(low_high[0])} to {percent(low_high[1])})" if low_high else ""
        sentences.append(
            f"{nodes_text(scaling.nodes)} gave {scaling.speedup:.2f} times the images/s of "
            f"{nodes_text(scaling.base_nodes)}: {percent(scaling.efficiency.median)} of ideal{spread}."
        )
    return sentences


def _ends_sentence(facts: Sequence[RunFacts]) -> str:
    counts = Counter((run.cause or "not ended").replace("_", " ") for run in facts)
    return f"{len(facts)} runs: {', '.join(f'{count} {cause}' for cause, count in counts.most_common())}."


def _best(facts: Sequence[RunFacts]) -> list[str]:
    with_top1 = [run for run in facts if run.series.get("top1")]
    if not with_top1:
        return []
    best = max(with_top1, key=lambda run: run.series["top1"].values[-1])
    return [f"Best held-out top-1: {top1_text(best)}, {best.label} on {nodes_text(best.nodes)}."]


def _run_sentence(run: RunFacts) -> str:
    reached = f", held-out top-1 {top1_text(run)}" if run.series.get("top1") else ""
    failed = len(run.waterfall.courses) - 1
    again = f" after {failed} attempt{'s' if failed > 1 else ''} that did not finish" if failed > 0 else ""
    return f"{run.label} on {nodes_text(run.nodes)}: {end_text(run)}{again}{reached}."


def problems(facts: Sequence[RunFacts]) -> list[str]:
    """What of the records cannot be read, one sentence each."""
    return [f"{run.label}: {problem}" for run in facts for problem in run.problems]


def what_the_figures_are(facts: Sequence[RunFacts], points: Sequence[Throughput]) -> list[str]:
    """Sentences on n, spread and window, and on everything that limits what the figures say."""
    found = [
        *_on_throughput(points),
        *_on_short_windows(facts),
        *_on_machines(facts),
        *_on_use(facts),
        *_on_differences(facts, points),
        *_on_base(facts, points),
    ]
    if any(run.end_to_end_images_per_s for run in facts):
        found.append(
            "Images/s end to end are the images of the steps that a run reached, per second of all its "
            "attempts on their nodes: staging, start-up, evaluating, saving and repeated steps count as time."
        )
    if any(run.series.get("top1") for run in facts):
        found.append(
            "Top-1 is the last value that a run wrote, on samples held out of training; one run is one seed."
        )
    if any(len(run.waterfall.courses) > 1 for run in facts):
        found.append("A resumed attempt repeats steps; the curves show the last value of each step.")
        found.append(
            "Lost time runs from the last step that a later attempt built upon to when training went on."
        )
    for run in facts:
        found += _on_ends(run)
    return found


def no_time(facts: Sequence[RunFacts]) -> str:
    """Why there is no picture of where the time went."""
    if any(run.waterfall.courses for run in facts):
        return "The records do not hold when these attempts started, so there is no time to show."
    return "No attempt of these runs has started, so there is no time to show."


def _on_throughput(points: Sequence[Throughput]) -> list[str]:
    if not points:
        return []
    share = f"{WARM_UP_SHARE:.0%}".replace("%", " %")
    counts = [f"{point.estimate.n} on {nodes_text(point.nodes)}" for point in points]
    repeats = [
        f"{len(point.labels)} run{'s' if len(point.labels) > 1 else ''} on {nodes_text(point.nodes)}"
        for point in points
    ]
    return [
        f"Images/s are medians over a steady window: of each attempt's logged values the first {share}, at "
        f"least one, are left out as warm-up. What is left: {names_of(counts)}.",
        f"Repeats here: {names_of(repeats)}. {_on_intervals(points)}",
    ]


def _on_short_windows(facts: Sequence[RunFacts]) -> list[str]:
    count = sum(run.short_windows for run in facts)
    if not count:
        return []
    return [
        f"Values over fewer than half as many steps as usual, such as the rest of an epoch, are left out of "
        f"images/s before that: {count} here."
    ]


def _on_intervals(points: Sequence[Throughput]) -> str:
    """What the intervals are, of the kinds that occur."""
    found = []
    if any(point.estimate.is_between_runs for point in points):
        found.append(
            "The figure of several runs is the geometric mean of their medians; its 95 % interval is "
            "Student's over those medians, so it tells how another repeat would differ."
        )
    if not all(point.estimate.is_between_runs for point in points):
        found.append(
            "A spread within a run is a 95 % block-bootstrap interval over the run's own values. It tells "
            "how steady the run was, not how another repeat would differ; nor does a range made of it."
        )
    return " ".join(found)


def _on_machines(facts: Sequence[RunFacts]) -> list[str]:
    return [
        f"{run.label}: nodes {names_of(nodes)} are one machine ({machine}) and share its cores, memory and "
        "network; its scaling says nothing about a cluster of machines."
        for run in facts
        for machine, nodes in run.shared_hosts.items()
    ]


def _on_use(facts: Sequence[RunFacts]) -> list[str]:
    """How busy the GPUs were, of runs whose nodes have told it."""
    told = [(run.label, run.use) for run in facts if run.use.get("gpu_busy_percent") is not None]
    return [
        f"{label}: its GPUs were {use['gpu_busy_percent']:.0f} % busy, the median of {use['gpus']} over "
        f"the last {use['seconds'] / 60:.0f} min that their nodes noted."
        for label, use in told
    ]


def _on_differences(facts: Sequence[RunFacts], points: Sequence[Throughput]) -> list[str]:
    compared = [run for run in facts if run.resolved and any(run.label in point.labels for point in points)]
    keys = dict.fromkeys(key for run in compared for key in run.resolved)
    different = [
        key
        for key in keys
        if key not in _OWN_FIELDS
        and any(run.resolved.get(key) != compared[0].resolved.get(key) for run in compared)
    ]
    if not different:
        return []
    return [f"The compared runs differ in more than nodes: {', '.join(different)} (see their specs)."]


def _on_base(facts: Sequence[RunFacts], points: Sequence[Throughput]) -> list[str]:
    """That the runs which the others are compared with had nothing to communicate."""
    if len(points) < 2:
        return []
    base = [run for run in facts if run.label in points[0].labels]
    others = [run for run in facts if any(run.label in point.labels for point in points[1:])]
    if any(run.has_communicator for run in base) or not any(run.has_communicator for run in others):
        return []
    return [
        f"What is compared with on {nodes_text(points[0].nodes)} is one process without a communicator: the "
        "efficiency holds all that communication costs, also what a single rank under it would cost."
    ]


def _on_ends(run: RunFacts) -> list[str]:
    return [
        f"{run.label}: nobody wrote when attempt {course.attempt.number} ended; its last line stands for it."
        for course in run.waterfall.courses
        if course.end_is_last_sign and course.attempt.cause is not None and course.end is not None
    ]


def again(facts: Sequence[RunFacts]) -> list[tuple[str, str]]:
    """Commands with what each does, to run the same jobs and to make this report again."""
    root = shlex.quote(str(facts[0].run.path.parent.parent))
    idents = " ".join(shlex.quote(run.run.ident) for run in facts)
    with_command = [(submit_again(run.run), run.label) for run in facts]
    commands = [(command, f"{label} as a new run") for command, label in with_command if command]
    commands.append((f"HPCAI_RUNS_ROOT={root} hpcai report {idents}", "this report from the same records"))
    return commands
