"""A run told line by line."""

from __future__ import annotations

from dataclasses import replace

from hpcai.cli.narrate import Narrator
from hpcai.launch.follow import Snapshot, Staged

WAITS = Snapshot(now=0.0, phase="waiting", words="waits for nodes to become free", state="PENDING")
RUNS = Snapshot(now=1.0, phase="staging", words="runs", state="RUNNING", node_list="n[1-2]", nodes=2)
BLOB = Staged("n1", "digits", 3_250_000, 0.42, 3_250_000)
CACHED = Staged("n2", "digits", 3_250_000, 0.01, 0)


def told(*snapshots: Snapshot) -> list[str]:
    narrator = Narrator()
    lines = [line for snapshot in snapshots for line in narrator.tell(snapshot)]
    return [line.partition("  ")[2] for line in lines]


def test_a_whole_course() -> None:
    trains = replace(RUNS, phase="training", staged=(BLOB, CACHED), epoch=1, epochs=2, step=10, loss=1.5)
    assert told(
        Snapshot(now=0.0),
        WAITS,
        WAITS,
        RUNS,
        replace(RUNS, staged=(BLOB,)),
        replace(RUNS, staged=(BLOB, CACHED)),
        replace(trains, phase="first step", step=None, epoch=None, loss=None),
        trains,
        replace(trains, phase="evaluating"),
        replace(trains, top1=0.8125, evaluations=1, images_per_s=(30.0, 35.25), left_s=71.0),
        replace(trains, top1=0.8125, evaluations=1, epoch=2, step=11),
        replace(trains, phase="ending", top1=0.8125, evaluations=1, epoch=2, step=11),
    ) == [
        "the job waits for nodes to become free",
        "started on n[1-2]",
        "the data is being staged",
        "n1 has digits: 3.25 MB from Blob in 0.4 s",
        "n2 has digits: 3.25 MB, there from an earlier run",
        "the first step is being prepared",
        "the first step is done; training goes on",
        "epoch 1/2  step 10  loss 1.5000",
        "epoch 1/2  step 10  loss 1.5000  top-1 0.8125  35.2 images/s  1 min 11 s left",
        "the job is ending",
    ]


def test_progress_is_told_once_a_minute_between_evaluations() -> None:
    steps = [replace(RUNS, phase="training", now=float(second), step=second) for second in range(1, 180)]
    assert sum("step" in line for line in told(*steps) if "first" not in line) == 3


def test_a_requeue_is_told_with_its_cause_and_the_next_attempt() -> None:
    first = replace(RUNS, phase="training", step=5)
    waits = replace(WAITS, attempt=1, ended_attempts=((0, "node_failure"),), words="waits for its begin time")
    second = replace(RUNS, attempt=1, ended_attempts=((0, "node_failure"),), node_list="n[1,3]")
    resumed = replace(second, phase="first step", resumed_step=4)
    assert told(first, waits, second, resumed)[3:] == [
        "attempt 0 lost a node; Slurm starts the job again",
        "the job waits for its begin time",
        "attempt 1 started on n[1,3]",
        "the data is being staged",
        "the first step is being prepared",
        "training goes on from step 4",
    ]


def test_a_silent_slurm_is_told_once() -> None:
    silent = [replace(RUNS, silent_s=seconds) for seconds in (13.0, 14.0)]
    assert told(RUNS, *silent, RUNS)[2:] == [
        "Slurm has not answered for 13 s; asking on",
        "Slurm answers again",
    ]
