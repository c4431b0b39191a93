"""Run records as a real job leaves them, with made-up figures: the report's raw material."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcai.runs import files, jsonl
from hpcai.runs.record import Run

BEGIN = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


@dataclass
class Sample:
    """Writes one record, moving a clock of its own."""

    run: Run
    nodes: int
    images_per_s: float
    batch_size: int = 32
    steps_per_epoch: int = 21
    now: float = BEGIN
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def event(self, name: str, **fields: Any) -> None:
        jsonl.append(self.run.paths.events, {"event": name, **fields, "time": self.now})

    def attempt(self, number: int, event: str, **fields: Any) -> None:
        line = {"attempt": number, "job_id": 12, **fields, "event": event, "time": self.now}
        jsonl.append(self.run.paths.attempts, line)

    def end(
        self, number: int, state: str, cause: str, exit_status: int | None, end: float | None = None
    ) -> None:
        record = {"attempt": number, "job_id": 12, "state": state, "exit_status": exit_status, "signal": None}
        jsonl.append(self.run.paths.ends, {**record, "cause": cause, "end": end, "time": self.now + 1})

    def metric(self, name: str, value: float, step: int) -> None:
        record = {"name": name, "value": value if math.isfinite(value) else str(value), "step": step}
        jsonl.append(self.run.paths.metrics(), {**record, "time": self.now})

    def stage(self, attempt: int, blob: int, cache: int, seconds: float) -> None:
        for index in range(self.nodes):
            record = {
                "data": "digits",
                "source": "azure://datasets/digits",
                "version": "9f2c41d07be1a6c2a3f0",
                "event": "done" if blob else "reused",
                "bytes": blob + cache,
                "bytes_from": {"blob": blob, "cache": cache},
                "seconds": seconds + 0.07 * index,
                "path": f"/scratch/n{index + 1}/hpcai/data/digits/9f2c41d07be1a6c2a3f0",
                "attempt": attempt,
                "time": self.now + seconds,
            }
            jsonl.append(self.run.paths.data(f"n{index + 1}"), record)
        self.wait(seconds + 0.07 * self.nodes)

    def begin(self, attempt: int, first: int) -> None:
        """What the trainer writes before its first step: `started` without a look at any checkpoint."""
        self.metric("mark/started", attempt, 0)
        self.wait(6.2)
        self.metric("epochs", 14, first)
        if first:
            self.metric("mark/resumed", attempt, first)

    def train(self, attempt: int, first: int, last: int) -> None:
        self.begin(attempt, first)
        for step in range(first + 1, last + 1):
            self._step(attempt, step, step - first)

    def _step(self, attempt: int, step: int, since_start: int) -> None:
        speed = self.images_per_s * self.rng.gauss(1.0, 0.025) * min(1.0, 0.35 + 0.25 * since_start)
        self.wait(self.nodes * self.batch_size / speed)
        if since_start == 1:
            self.metric("mark/first_step", attempt, step)
        progress = step / (self.steps_per_epoch * 14)
        self.metric("loss", 2.4 * math.exp(-4.2 * progress) + 0.05 + abs(self.rng.gauss(0, 0.06)), step)
        self.metric("images_per_s", speed, step)
        self.metric("data_wait_s", 0.002, step)
        self.metric("epoch", step / self.steps_per_epoch, step)
        if step % self.steps_per_epoch == 0:
            self.wait(1.1)
            self.metric("top1", 0.982 - 0.85 * math.exp(-5.5 * progress), step)
            self.metric("val_loss", 2.2 * math.exp(-4.6 * progress) + 0.08, step)

    def finish(self, attempt: int, step: int) -> None:
        self.metric("mark/trained", attempt, step)
        self.wait(1.1)
        self.metric("mark/evaluated", attempt, step)
        self.wait(0.6)
        self.metric("mark/saved", attempt, step)
        self.wait(2.4)
        self.attempt(attempt, "end", exit_status=0)
        self.end(attempt, "COMPLETED", "completed", 0)


def begin_sample(root: Path, name: str, nodes: int, images_per_s: float, **more: Any) -> Sample:
    path = root / "demo" / name
    run = Run(path)
    path.mkdir(parents=True)
    for folder in run.paths.folders():
        folder.mkdir()
    command = (
        "$HPCAI_PYTHON -m hpcai.train --data $HPCAI_DATA_DIGITS --epochs 14 --batch-size 32 --image-size 64"
    )
    spec = f"kind: job\nname: {name[:-16]}\nnodes: {nodes}\nlauncher: horovod\ncommand: >-\n  {command}\n"
    files.write_text(run.paths.spec, spec)
    files.write_text(
        run.paths.script, f"#!/bin/bash\n#SBATCH --nodes={nodes}\nsrun --mpi=pmix bash -c '{command}'\n"
    )
    resolved = {"kind": "job", "name": name[:-16], "experiment": "demo", "nodes": nodes, "ntasks_per_node": 1}
    files.write_json(
        run.paths.resolved, {**resolved, "cpus_per_task": 1, "launcher": "horovod", "command": command}
    )
    return Sample(run, nodes, images_per_s, **more)


def write_environment(sample: Sample, hostnames: dict[str, str]) -> None:
    value = {
        "hostnames": hostnames,
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "horovod": "0.28.1",
        "slurm": "22.05.8",
        "precision": "bf16",
        "packages": {"numpy": "2.3.1", "pillow": "12.0.0"},
    }
    files.write_json(sample.run.paths.environment, value)


def node_list(nodes: int) -> str:
    return "n1" if nodes == 1 else f"n[1-{nodes}]"


def trained_run(root: Path, name: str, nodes: int, images_per_s: float, *, begin: float = BEGIN) -> Run:
    """A run that staged, trained 14 epochs and ended well."""
    sample = begin_sample(root, name, nodes, images_per_s, steps_per_epoch=42 // nodes, now=begin)
    sample.event("submitted", job_id=12)
    sample.wait(1.4)
    sample.attempt(0, "start", node_list=node_list(nodes))
    sample.stage(0, 2_831_155, 0, 0.61)
    sample.attempt(0, "staged")
    last = sample.steps_per_epoch * 14
    sample.train(0, 0, last)
    sample.finish(0, last)
    hosts = {f"n{index + 1}": "bench-machine" for index in range(nodes)}
    write_environment(sample, hosts)
    return sample.run


def resumed_run(root: Path, name: str) -> Run:
    """A run that lost a node in the middle, was requeued and resumed from its checkpoint."""
    sample = begin_sample(root, name, 2, 260.0)
    sample.event("submitted", job_id=12)
    sample.wait(2.0)
    sample.attempt(0, "start", node_list="n[1-2]")
    sample.stage(0, 2_831_155, 0, 0.61)
    sample.attempt(0, "staged")
    sample.train(0, 0, 120)
    sample.wait(5)
    sample.end(0, "NODE_FAIL", "node_failure", None, end=sample.now)
    sample.wait(20)
    sample.attempt(1, "start", node_list="n[2-3]")
    sample.stage(1, 0, 2_831_155, 0.05)
    sample.attempt(1, "staged")
    sample.train(1, 105, 294)
    sample.finish(1, 294)
    write_environment(sample, {"n2": "node-b", "n3": "node-c"})
    return sample.run


def evicted_run(root: Path, name: str, ends: tuple[int, ...], *, window: int) -> Run:
    """A run of an attempt per end, at whole windows; the first window of each is slow."""
    sample = begin_sample(root, name, 2, 200.0)
    sample.event("submitted", job_id=12)
    first = 0
    for attempt, last in enumerate(ends):
        sample.attempt(attempt, "start", node_list="n[1-2]")
        sample.begin(attempt, first)
        for step in range(first + window, last + 1, window):
            speed = sample.images_per_s * (0.6 if step == first + window else 1.0)
            sample.wait(window * sample.nodes * sample.batch_size / speed)
            sample.metric("images_per_s", speed, step)
        sample.attempt(attempt, "end", exit_status=0 if last == ends[-1] else 1)
        sample.wait(10)
        first = last
    return sample.run


def plain_run(root: Path, name: str, *, exit_status: int = 3) -> Run:
    """A job of a person's own that writes nothing but its attempts."""
    sample = begin_sample(root, name, 1, 1.0)
    sample.event("submitted", job_id=14)
    sample.wait(3.0)
    sample.attempt(0, "start", node_list="n1")
    sample.wait(61.0)
    sample.attempt(0, "end", exit_status=exit_status)
    sample.end(0, "FAILED", "failed", exit_status)
    return sample.run


def damaged_run(root: Path, name: str) -> Run:
    """A trained run with a torn line, a line of rubbish, NaN losses and files cut off."""
    run = trained_run(root, name, 2, 262.0)
    lines = run.paths.metrics().read_bytes().split(b"\n")
    lines[40] = lines[40][:25]
    lines[77] = b"\x00\xff\x00 rubbish"
    lines[120] = json.dumps({"name": "loss", "value": "nan", "step": 30, "time": BEGIN + 30}).encode()
    lines[121] = b'{"name": "top1", "value": "high", "step": 31, "time": 1}'
    run.paths.metrics().write_bytes(b"\n".join(lines)[:-30])
    run.paths.ends.write_bytes(b'{"attempt": 0, "state": "COMPL')
    run.paths.environment.write_text('{"schema_version": 1, "python": ')
    return run
