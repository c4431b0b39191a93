"""The watcher of Azure's Scheduled Events, as the process that it is, before a stand-in of the service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcai.launch import scheduled_events
from hpcai.launch.scheduled_events import notices_of
from hpcai.runs import jsonl
from tests.launch.metadata_service import Metadata, metadata_service
from tests.waiting import until

# Stands in for scancel: one line for each signal that the job gets.
RELAY = """#!/bin/bash
[[ ! -e $0.fails ]] || { echo "slurmctld is away" >&2; exit 1; }
echo "$*" >>"$0.sent"
"""


class Job:
    """A run's folder and the relay; watchers of its nodes are started with `on`."""

    def __init__(self, folder: Path, service: Metadata) -> None:
        self.run, self.relay, self.service = folder / "run", folder / "relay", service
        (self.run / "notices").mkdir(parents=True)
        self.relay.write_text(RELAY)
        self.relay.chmod(0o755)

    @contextmanager
    def on(self, node: str) -> Iterator[subprocess.Popen[bytes]]:
        look = f"import sys, {scheduled_events.__name__} as it; it.EVERY_S = 0.1; it.main(sys.argv[1:])"
        argv = [sys.executable, "-c", look, self.file(node), "2", self.relay, "--signal=USR1", "12"]
        environ = {**os.environ, "SLURMD_NODENAME": node, "HPCAI_METADATA_URL": self.service.url}
        program = subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE)
        try:
            yield program
        finally:
            program.kill()
            program.communicate()

    def file(self, node: str) -> Path:
        return self.run / "notices" / f"{node}.jsonl"

    def events(self, node: str) -> list[str]:
        return [line["event"] for line in jsonl.read(self.file(node))]

    def sent(self) -> list[str]:
        path = self.relay.with_name("relay.sent")
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, node: str, *events: str) -> list[dict[str, Any]]:
        until(lambda: self.events(node) == list(events), 20, f"{events} on {node}")
        return jsonl.read(self.file(node))


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with metadata_service() as service:
        yield Job(tmp_path, service)


@pytest.mark.programs
def test_a_notice_for_this_node_is_written_down_and_relayed_once(job: Job) -> None:
    with job.on("n1") as program:
        job.wait("n1", "watching")
        job.service.announce("Preempt", "VM-N1")
        watching, notice, relayed = job.wait("n1", "watching", "notice", "relayed")
        job.service.announce("Preempt", "vm-n1", status="Started")
        *_, started = job.wait("n1", "watching", "notice", "relayed", "notice")
        seen = len(job.service.asked)
        until(lambda: len(job.service.asked) > seen + 3, 10, "it goes on looking")
        program.send_signal(signal.SIGUSR1)
        assert program.stdin is not None
        program.stdin.close()
        assert program.wait(5) == 0
    assert (watching["vm"], watching["attempt"], notice["type"], notice["not_before"]) == (
        "vm-n1",
        2,
        "Preempt",
        1792434587.0,
    )
    assert (started["status"], started["not_before"], relayed["id"]) == ("Started", None, notice["id"])
    assert job.sent() == ["--signal=USR1 12"]


@pytest.mark.programs
def test_notices_for_other_machines_and_those_that_take_nothing_away_send_no_signal(job: Job) -> None:
    job.service.announce("Preempt", "vm-n2", "vm-n10", ident="other")
    job.service.announce("Freeze", "vm-n1", ident="freeze")
    job.service.announce("Redeploy", "vm-n1", ident="old", status="Completed")
    with job.on("n1"):
        _, freeze, old = job.wait("n1", "watching", "notice", "notice")
        seen = len(job.service.asked)
        until(lambda: len(job.service.asked) > seen + 3, 10, "it goes on looking")
    assert (freeze["type"], old["type"], job.sent()) == ("Freeze", "Redeploy", [])


@pytest.mark.programs
def test_of_a_notice_for_several_nodes_one_of_them_tells_the_job(job: Job) -> None:
    with job.on("n1"), job.on("n2"):
        job.wait("n1", "watching")
        job.wait("n2", "watching")
        job.service.announce("Terminate", "vm-n1", "vm-n2")
        until(
            lambda: all("notice" in job.events(node) for node in ("n1", "n2")) and job.sent(),
            20,
            "both noted it",
        )
        seen = len(job.service.asked)
        until(lambda: len(job.service.asked) > seen + 6, 10, "both go on looking")
    assert job.sent() == ["--signal=USR1 12"]


@pytest.mark.programs
def test_a_relay_that_fails_is_tried_again(job: Job) -> None:
    fails = job.relay.with_name("relay.fails")
    fails.touch()
    job.service.announce("Reboot", "vm-n1")
    with job.on("n1"):
        until(lambda: job.events("n1").count("not_relayed") > 1, 20, "it tried twice")
        assert job.sent() == []
        fails.unlink()
        until(lambda: job.events("n1")[-1] == "relayed", 20, "it was relayed")
    assert job.sent() == ["--signal=USR1 12"]
    assert "slurmctld is away" in next(one["why"] for one in jsonl.read(job.file("n1")) if "why" in one)


@pytest.mark.programs
def test_the_job_is_told_though_its_record_is_gone(job: Job) -> None:
    job.service.announce("Preempt", "vm-n1")
    (job.run / "notices").rmdir()
    with job.on("n1"):
        until(job.sent, 20, "the signal was sent")
    assert not (job.run / "notices").exists()


@pytest.mark.programs
def test_a_service_that_is_away_is_said_once_and_asked_again(job: Job) -> None:
    job.service.fails_with = 410
    with job.on("n1"):
        (away,) = job.wait("n1", "unreachable")
        seen = len(job.service.asked)
        until(lambda: len(job.service.asked) > seen + 3, 10, "it goes on asking")
        assert job.events("n1") == ["unreachable"]
        job.service.fails_with = None
        job.wait("n1", "unreachable", "watching")
    assert away["why"] == "status 410"


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"Events": 3}', "<html>", '{"Events": null}'])
def test_an_answer_that_is_no_list_of_events_is_refused(answer: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        notices_of(answer)


def test_an_event_of_odd_fields_is_read_as_far_as_it_goes() -> None:
    (found,) = notices_of(
        json.dumps({"Events": [7, {"EventType": "Preempt", "Resources": "x", "NotBefore": 5}]})
    )
    assert (found.kind, found.resources, found.not_before, found.takes_away) == ("Preempt", (), None, False)


def test_the_service_is_azures_unless_a_variable_names_another() -> None:
    assert scheduled_events.URL + scheduled_events.EVENTS == (
        "http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01"
    )
