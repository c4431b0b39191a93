"""The live view's lines at several widths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpcai.cli.live import draw, sparkline
from hpcai.launch.ends import Outcome
from hpcai.launch.follow import Snapshot, Staged

TRAINS = Snapshot(
    now=200.0,
    phase="training",
    words="runs",
    state="RUNNING",
    since=69.0,
    attempt=1,
    node_list="n[1-2]",
    nodes=2,
    staged=(Staged("n1", "digits", 3_250_000, 0.42, 3_250_000), Staged("n2", "digits", 3_250_000, 0.01, 0)),
    wanted_data=2,
    resumed_step=40,
    epoch=3,
    epochs=12,
    step=72,
    loss=0.41234,
    top1=0.9125,
    images_per_s=(10.0, 20.0, 40.0),
    fraction=0.25,
    left_s=71.0,
    ended_attempts=((0, "node_failure"),),
)


def shown(snapshot: Snapshot, width: int = 80, tail: tuple[str, ...] = (), pretty: bool = True) -> list[str]:
    return [line.plain for line in draw(snapshot, "digits-1", 12, tail, width, pretty=pretty)]


def test_everything_of_a_training() -> None:
    assert shown(TRAINS) == [
        "digits-1  job 12  attempt 1  n[1-2]  2 min 11 s",
        "  ✖ attempt 0 lost a node",
        "  ✔ n1 has digits: 3.25 MB from Blob in 0.4 s",
        "  ✔ n2 has digits: 3.25 MB, there from an earlier run",
        "  ✔ goes on from step 40",
        "  ● training",
        "    epoch 3/12  ━━━━━━━━──────────────────────  1 min 11 s left",
        "    step 72  loss 0.4123  top-1 0.9125",
        "    40.0 images/s  ▃▅█",
        "Ctrl-C leaves this view; the job goes on.",
    ]


def test_a_job_that_never_starts_is_shown_with_what_ends_it() -> None:
    never = Snapshot(now=1.0, phase="waiting", words="never starts: why", state="PENDING", never_starts=True)
    assert shown(never)[1:3] == ["  ● never starts: why", "  ✖ hpcai cancel digits-1"]


def test_a_terminal_without_unicode() -> None:
    lines = shown(TRAINS, pretty=False)
    assert all(line.isascii() for line in lines)
    assert lines[6] == "    epoch 3/12  ########......................  1 min 11 s left"


@pytest.mark.parametrize("width", [10, 20, 30, 40, 60, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    waits = Snapshot(now=1.0, phase="waiting", words="waits " * 40, reason="Resources")
    for snapshot in (TRAINS, waits, replace(TRAINS, epoch=None, loss=None)):
        assert all(len(line) <= width for line in shown(snapshot, width, ("long " * 60,)))


def test_a_long_name_leaves_room_for_the_time() -> None:
    title = draw(TRAINS, "d" * 60, 12, (), 80)[0].plain
    assert len(title) == 80
    assert title == "d" * 40 + "…  job 12  attempt 1  n[1-2]  2 min 11 s"


def test_a_waiting_job_says_why() -> None:
    waits = Snapshot(now=1.0, phase="waiting", words="waits for nodes to become free", reason="Resources")
    assert shown(waits)[1] == "  ● waits for nodes to become free (Resources)"


def test_a_job_without_metrics_shows_its_last_lines() -> None:
    runs = Snapshot(now=1.0, phase="running", words="runs", node_list="n1")
    assert shown(runs, tail=("one", "\x1b[31mtwo\x1b[0m")) == [
        "digits-1  job 12  n1",
        "  ● running",
        "    one",
        "    two",
        "Ctrl-C leaves this view; the job goes on.",
    ]


def test_the_end() -> None:
    failed = replace(TRAINS, phase="ended", outcome=Outcome("FAILED", "failed", 3, None))
    lines = shown(failed)
    assert "  ✖ failed with status 3" in lines
    assert not any("Ctrl-C" in line or "left" in line for line in lines)


@pytest.mark.parametrize(
    ("status", "line"), [(137, "failed with status 137 (SIGKILL)"), (3, "failed with status 3")]
)
def test_a_signal_is_named(status: int, line: str) -> None:
    assert f"  ✖ {line}" in shown(replace(TRAINS, outcome=Outcome("FAILED", "failed", status, None)))


def test_a_silent_slurm_is_seen() -> None:
    assert "  ✖ Slurm has not answered for 13 s" in shown(replace(TRAINS, silent_s=13.0))


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [([], 5, ""), ([0.0, 0.0], 5, ""), ([1.0], 0, ""), ([8.0, 4.0, 0.0], 5, "█▅▁"), ([1.0] * 9, 3, "███")],
)
def test_sparkline(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line
