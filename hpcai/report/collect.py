"""What a report needs to know of each run, read from its record alone."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcai.errors import StageError
from hpcai.report import last_words
from hpcai.report.last_words import LastWords
from hpcai.report.statistics import is_short, steady_window, usual_length
from hpcai.runs.metrics import Series, Value, marks_of, read_values, series_of
from hpcai.runs.names import unstamped
from hpcai.runs.record import Run
from hpcai.runs.samples import read_uses, summary
from hpcai.runs.waterfall import Waterfall, build, submitted_at
from hpcai.units import parse_hostlist

_LONG_LABEL = 28


@dataclass(frozen=True)
class Transfer:
    """What one node brought to its scratch in one attempt; None is what the record does not say."""

    node: str
    data: str
    version: str | None
    attempt: int | None
    total_bytes: int | None
    blob_bytes: int | None
    cache_bytes: int | None
    seconds: float | None

    @property
    def mb_per_s(self) -> float | None:
        """Megabytes that came over the network, per second; None when none did."""
        if not self.blob_bytes or not self.seconds:
            return None
        return self.blob_bytes / self.seconds / 1e6


@dataclass(frozen=True)
class RunFacts:
    """One run as the report sees it.

    `speeds` are images/s, one list per attempt, without the `short_windows` over few steps.
    """

    run: Run
    label: str
    resolved: dict[str, Any]
    nodes: int
    job_id: int | None
    waterfall: Waterfall
    series: dict[str, Series]
    speeds: tuple[tuple[float, ...], ...]
    short_windows: int
    end_to_end_images_per_s: float | None
    transfers: tuple[Transfer, ...]
    environment: dict[str, Any]
    spec_text: str
    script_text: str
    last_words: tuple[LastWords, ...]
    problems: tuple[str, ...]
    use: dict[str, Any] = field(default_factory=dict)
    """How busy its nodes were in its last attempt, as `hpcai.runs.samples.summary` tells it."""

    @property
    def cause(self) -> str | None:
        """How the run ended, None while it goes on as far as the record knows."""
        return self.waterfall.courses[-1].attempt.cause if self.waterfall.courses else None

    @property
    def images_per_s(self) -> float | None:
        """The median over the steady windows of all attempts."""
        steady = [value for speeds in self.speeds for value in steady_window(speeds)[0]]
        return statistics.median(steady) if steady else None

    @property
    def has_communicator(self) -> bool:
        """Whether its ranks exchanged anything, as far as the record says."""
        return self.environment.get("comm") != "single"

    @property
    def shared_hosts(self) -> dict[str, list[str]]:
        """The machines that played more than one node, each with those nodes."""
        hostnames = self.environment.get("hostnames")
        nodes: dict[str, list[str]] = {}
        for node, machine in hostnames.items() if isinstance(hostnames, dict) else ():
            nodes.setdefault(str(machine), []).append(str(node))
        return {machine: names for machine, names in nodes.items() if len(names) > 1}


def collect(runs: Sequence[Run]) -> list[RunFacts]:
    """The facts of each run, in the order given; what cannot be read is named in `problems`."""
    labels = _labels(runs)
    return [_facts(run, label) for run, label in zip(runs, labels, strict=True)]


def _facts(run: Run, label: str) -> RunFacts:
    problems: list[str] = []
    resolved = _read_json(run.resolved, problems)
    environment = _read_json(run.environment, problems)
    values = read_values(run.paths.metrics())
    waterfall = build(submitted_at(run), run.attempts(), values)
    speeds, short_windows = _speeds(waterfall.lines or [values])
    return RunFacts(
        run=run,
        label=label,
        resolved=resolved,
        nodes=_nodes(resolved, waterfall),
        job_id=run.job_id,
        waterfall=waterfall,
        series={name: series.finite() for name, series in series_of(values).items()},
        speeds=speeds,
        short_windows=short_windows,
        end_to_end_images_per_s=_end_to_end(waterfall),
        transfers=_transfers(run),
        environment=environment,
        spec_text="" if run.is_bare else _read_text(run.paths.spec, problems),
        script_text=_read_text(run.paths.script, problems),
        last_words=_last_words(run, waterfall),
        problems=tuple(problems),
        use=_use(run, waterfall),
    )


def _use(run: Run, waterfall: Waterfall) -> dict[str, Any]:
    if not waterfall.courses:
        return {}
    last = waterfall.courses[-1].attempt
    uses = read_uses(run.paths, last.number)
    return summary(uses, [], last.end or 0.0) if uses else {}


def _last_words(run: Run, waterfall: Waterfall) -> tuple[LastWords, ...]:
    last = waterfall.courses[-1].attempt if waterfall.courses else None
    if last is None or last.cause in (None, "completed"):
        return ()
    return tuple(last_words.of_run(run, last.number))


def _speeds(per_attempt: Sequence[Sequence[Value]]) -> tuple[tuple[tuple[float, ...], ...], int]:
    """The images/s of each attempt without those over few steps, and how many these are."""
    windows = [_windows(lines) for lines in per_attempt]
    usual = usual_length([steps for attempt in windows for _, steps in attempt])
    kept = tuple(
        tuple(value for value, steps in attempt if not is_short(steps, usual)) for attempt in windows
    )
    return kept, sum(map(len, windows)) - sum(map(len, kept))


def _windows(lines: Sequence[Value]) -> list[tuple[float, int]]:
    """Each images/s of an attempt and over how many steps it was taken: those since the one before."""
    found = []
    before = _first_step(lines)
    for line in lines:
        if line.name == "images_per_s":
            found.append((line.value, line.step - before))
            before = line.step
    return found


def _first_step(lines: Sequence[Value]) -> int:
    """The step that an attempt began at: `started` is written before a checkpoint is looked for."""
    resumed = (mark.step for mark in marks_of(lines) if mark.name == "resumed")
    return next(resumed, lines[0].step if lines else 0)


def _end_to_end(waterfall: Waterfall) -> float | None:
    """The images that the steps reached stand for, per second of all attempts on their nodes."""
    per_attempt = waterfall.lines
    reached = [line.step for lines in per_attempt for line in lines if line.name == "images_per_s"]
    per_step = _images_per_step(per_attempt)
    on_nodes = [(course.allocated, course.end) for course in waterfall.courses]
    seconds = sum(end - start for start, end in on_nodes if start is not None and end is not None)
    if per_step is None or seconds <= 0:
        return None
    first = next(_first_step(lines) for lines in per_attempt if lines)
    return (reached[-1] - first) * per_step / seconds


def _images_per_step(per_attempt: Sequence[Sequence[Value]]) -> float | None:
    """The global batch by what a window says of its speed and took; an attempt's first is not timed whole."""
    found = [images for lines in per_attempt for images in _images_of_steps(lines)]
    return statistics.median(found) if found else None


def _images_of_steps(lines: Sequence[Value]) -> Iterator[float]:
    before: Value | None = None
    begin = 0.0
    for line in lines:
        if before is not None and line.step <= before.step:
            # An evaluation or a save after the last window: the next one begins when it is done.
            begin = max(begin, line.time)
        if line.name == "images_per_s":
            if before is not None and line.step > before.step:
                yield line.value * (line.time - begin) / (line.step - before.step)
            before, begin = line, line.time


def _labels(runs: Sequence[Run]) -> list[str]:
    """The name of each run without its time, numbered in the order of times where several share one."""
    names = [unstamped(run.name) for run in runs]
    shared = {name for name, count in Counter(names).items() if count > 1}
    if len(set(names)) == len(runs) and max(map(len, names)) > _LONG_LABEL:
        return _without_common_beginning(names)
    return [
        f"{name} #{_place(run, runs, name)}" if name in shared else name
        for run, name in zip(runs, names, strict=True)
    ]


def _place(run: Run, runs: Sequence[Run], name: str) -> int:
    """The run's place among those of its name, from 1."""
    namesakes = [other for other in runs if unstamped(other.name) == name]
    return 1 + sorted(namesakes, key=lambda other: (other.name, other.ident)).index(run)


def _without_common_beginning(names: list[str]) -> list[str]:
    """Names without the words (between `-`) that all of them begin with."""
    split = [name.split("-") for name in names]
    common = 0
    while all(len(words) > common + 1 and words[common] == split[0][common] for words in split):
        common += 1
    return ["…" + "-".join(words[common:]) for words in split] if common and len(names) > 1 else names


def _read_json(read: Any, problems: list[str]) -> dict[str, Any]:
    try:
        value: dict[str, Any] = read()
    except StageError as error:
        problems.append(error.what)
        return {}
    return value


def _read_text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{str(path)!r} cannot be read: {error.strerror}.")
        return ""


def _nodes(resolved: dict[str, Any], waterfall: Waterfall) -> int:
    """How many nodes the job really had; what it asked for when it has not begun."""
    for course in reversed(waterfall.courses):
        if course.attempt.node_list:
            try:
                return len(parse_hostlist(course.attempt.node_list))
            except ValueError:
                break
    nodes = resolved.get("nodes")
    return nodes if isinstance(nodes, int) else 1


def _transfers(run: Run) -> tuple[Transfer, ...]:
    found = [
        _transfer(node, record)
        for node, records in run.data().items()
        for record in records
        if record.get("event") in ("done", "reused")
    ]
    # The order of nodes and of lines stays as it is within an attempt.
    return tuple(sorted(found, key=lambda transfer: transfer.attempt or 0))


def _transfer(node: str, record: dict[str, Any]) -> Transfer:
    origin = record.get("bytes_from")
    origin = origin if isinstance(origin, dict) else {}
    seconds = record.get("seconds")
    return Transfer(
        node=node,
        data=str(record.get("data") or "?"),
        version=str(record["version"]) if record.get("version") else None,
        attempt=_integer(record.get("attempt")),
        total_bytes=_integer(record.get("bytes")),
        blob_bytes=_integer(origin.get("blob")),
        cache_bytes=_integer(origin.get("cache")),
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
