"""Metrics: what is logged comes back as one series per name, the last value of a step counting."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.errors import StageError
from hpcai.runs import jsonl, metrics
from hpcai.runs.metrics import Mark, MetricWriter, Value


def test_a_series_holds_what_was_logged(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "rank-0.jsonl"
    with MetricWriter(path) as writer:
        for step in range(3):
            writer.log("loss", 2.0 - step, step)
        writer.log("top1", 0.5, 2)
    series = metrics.series_of(metrics.read_values(path))
    assert list(series) == ["loss", "top1"]
    assert (series["loss"].steps, series["loss"].values) == ([0, 1, 2], [2.0, 1.0, 0.0])
    assert series["loss"].times == sorted(series["loss"].times)
    assert series["top1"].last == 0.5


def test_nan_and_infinity_come_back_and_the_file_stays_json(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    with MetricWriter(path) as writer:
        for step, value in enumerate([math.nan, math.inf, -math.inf, 1.5]):
            writer.log("loss", value, step)
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()] == [
        "nan",
        "inf",
        "-inf",
        1.5,
    ]
    series = metrics.series_of(metrics.read_values(path))["loss"]
    assert math.isnan(series.values[0])
    assert series.values[1:] == [math.inf, -math.inf, 1.5]
    assert (series.finite().steps, series.finite().values) == ([3], [1.5])


def test_a_resumed_attempt_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    with MetricWriter(path) as writer:
        for step in (1, 2, 3):
            writer.log("loss", step, step)
    path.write_bytes(path.read_bytes()[:-5])
    with MetricWriter(path) as writer:
        writer.mark("resumed", 1, 1)
        for step in (2, 3, 4):
            writer.log("loss", step * 10, step)
    series = metrics.series_of(metrics.read_values(path))["loss"]
    assert (series.steps, series.values) == ([1, 2, 3, 4], [1, 20, 30, 40])


def test_marks_stand_apart_and_none_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.jsonl"
    with MetricWriter(path) as writer:
        writer.mark("first_step", 0, 1)
        writer.mark("first_step", 1, 1)
    values = metrics.read_values(path)
    assert metrics.series_of(values) == {}
    assert [(mark.name, mark.attempt, mark.step) for mark in metrics.marks_of(values)] == [
        ("first_step", 0, 1),
        ("first_step", 1, 1),
    ]


def test_marks_keep_their_instants() -> None:
    values = [
        Value("mark/saved", 2.0, 7, 12.5),
        Value("mark/odd", math.nan, 7, 1.0),
        Value("loss", 1.0, 7, 2.0),
    ]
    assert metrics.marks_of(values) == [Mark("saved", 2, 7, 12.5)]


@pytest.mark.parametrize(
    "line",
    [
        {"name": "loss", "value": "high", "step": 1, "time": 1.0},
        {"name": "loss", "value": None, "step": 1, "time": 1.0},
        {"name": "loss", "value": 1.0, "step": "1", "time": 1.0},
        {"name": "loss", "value": 1.0, "step": 1},
        {"name": 3, "value": 1.0, "step": 1, "time": 1.0},
    ],
)
def test_a_line_with_a_wrong_field_is_passed_over(tmp_path: Path, line: jsonl.Record) -> None:
    path = tmp_path / "rank-0.jsonl"
    jsonl.append(path, line)
    jsonl.append(path, {"name": "loss", "value": 2, "step": 2, "time": 2.0, "unit": "nats"})
    assert metrics.read_values(path) == [Value("loss", 2.0, 2, 2.0)]


@given(st.lists(st.tuples(st.sampled_from(["loss", "top1"]), st.integers(0, 5), st.floats(allow_nan=False))))
def test_the_last_value_of_a_step_counts(lines: list[tuple[str, int, float]]) -> None:
    values = [Value(name, value, step, float(at)) for at, (name, step, value) in enumerate(lines)]
    for name, series in metrics.series_of(values).items():
        assert series.steps == sorted({step for other, step, _ in lines if other == name})
        for step, value, instant in zip(series.steps, series.values, series.times, strict=True):
            assert (name, step, value) == lines[int(instant)]
            assert (name, step) not in [(other, later) for other, later, _ in lines[int(instant) + 1 :]]


def test_a_full_disk_is_an_error_and_the_writer_goes_on() -> None:
    with MetricWriter(Path("/dev/full")) as writer:
        for step in (1, 2):
            with pytest.raises(StageError, match="No space left on device"):
                writer.log("loss", 1.0, step)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics").touch()
    with pytest.raises(StageError, match="cannot be written"):
        MetricWriter(tmp_path / "metrics" / "rank-0.jsonl")
