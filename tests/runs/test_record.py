"""Runs are made whole or not at all, found by every name that people have for them, listed newest first."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, RenderError, StageError, UsageError
from hpcai.runs import jsonl
from hpcai.runs.find import find_run, list_runs
from hpcai.runs.record import Run, create_run

Make = Callable[..., Run]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs with 'signs' $in it"


@pytest.fixture
def make(root: Path) -> Make:
    def make(name: str = "digits", experiment: str = "demo", job_id: int | None = None) -> Run:
        run = create_run(
            root, experiment, name, spec_text="name: x\n", resolved={"kind": "job"}, script="#!/bin/sh\n"
        )
        if job_id is not None:
            run.append_event("submitted", job_id=job_id)
        return run

    return make


def at(monkeypatch: pytest.MonkeyPatch, stamp: str) -> None:
    instant = time.strptime(stamp, "%Y%m%d-%H%M%S")
    monkeypatch.setattr("hpcai.runs.record.time.gmtime", lambda: instant)


def test_a_new_run_holds_everything(root: Path) -> None:
    run = create_run(
        root,
        "demo",
        "digits",
        spec_text="kind: job\n",
        resolved={"kind": "job", "nodes": 2},
        script=lambda folder: f"#!/bin/bash\ncd '{folder}'\n",
    )
    assert re.fullmatch(r"digits-\d{8}-\d{6}", run.name)
    assert (run.experiment, run.ident) == ("demo", f"demo/{run.name}")
    assert run.paths.spec.read_text() == "kind: job\n"
    assert run.paths.script.read_text() == f"#!/bin/bash\ncd '{run.path}'\n"
    assert run.resolved() == {"schema_version": 1, "kind": "job", "nodes": 2}
    assert [event["event"] for event in run.events()] == ["created"]
    assert all(folder.is_dir() for folder in run.paths.folders())
    assert (run.job_id, run.attempts(), run.metrics(), run.marks(), run.data(), run.environment()) == (
        None,
        [],
        {},
        [],
        {},
        {},
    )


def test_runs_of_one_second_get_different_folders(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "20261118-110640")
    with ThreadPoolExecutor(8) as pool:
        names = {run.name for run in pool.map(lambda _: make(), range(16))}
    stamped = "digits-20261118-110640"
    assert names == {stamped, *(f"{stamped}-{number}" for number in range(2, 17))}
    assert len(list_runs(root)) == 16


def test_a_script_that_cannot_be_rendered_leaves_no_run(root: Path) -> None:
    def script(folder: Path) -> str:
        raise RenderError(f"no template for {folder.name}")

    with pytest.raises(RenderError):
        create_run(root, "demo", "digits", spec_text="", resolved={}, script=script)
    assert list((root / "demo").iterdir()) == []
    assert list_runs(root) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a\n", "-x", "x" * 201])
def test_a_name_that_is_no_folder_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        create_run(root, "demo", name, spec_text="", resolved={}, script="")
    with pytest.raises(UsageError, match="cannot be the name of an experiment"):
        create_run(root, name, "digits", spec_text="", resolved={}, script="")
    assert not root.exists()


def test_a_root_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match=r"cannot be written: Not a directory\.\n.*HPCAI_RUNS_ROOT"):
        create_run(tmp_path / "file", "demo", "digits", spec_text="", resolved={}, script="")


def test_a_strict_umask_is_kept(make: Make) -> None:
    before = os.umask(0o077)
    try:
        run = make()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in run.path.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700


def test_runs_are_listed_newest_first(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = ["20261118-110640", "20261117-235959", "20261118-110641"]
    for number, stamp in enumerate(stamps):
        at(monkeypatch, stamp)
        make(f"job{number}", f"experiment{number}")
    assert [run.name[:4] for run in list_runs(root)] == ["job2", "job0", "job1"]
    assert find_run(root, "@last").name == "job2-20261118-110641"


def test_folders_that_are_no_runs_are_not_listed(make: Make, root: Path) -> None:
    run = make()
    (root / "demo" / "reports" / run.name).mkdir(parents=True)
    (root / "demo" / "half-made-20261118-110640" / "logs").mkdir(parents=True)
    (root / "demo" / ".hidden").mkdir()
    (root / "a file").touch()
    assert list_runs(root) == [run]


def test_no_root_is_no_runs(root: Path) -> None:
    assert list_runs(root) == []
    with pytest.raises(NotFoundError, match=r"holds no runs\.\n`hpcai submit FILE"):
        find_run(root, "12")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(make: Make, root: Path) -> None:
    run = make()
    make(experiment="private")
    (root / "private").chmod(0)
    try:
        assert list_runs(root) == [run]
    finally:
        (root / "private").chmod(0o700)


def test_a_run_is_found_by_each_of_its_names(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "20261118-110640")
    run = make("digits-2node", job_id=12)
    make("digits-1node", job_id=13)
    for ident in ("12", run.name, run.ident, "digits-2node", "digits-2", "demo/digits-2"):
        assert find_run(root, ident) == run, ident


def test_a_job_id_that_slurm_used_again_is_the_newest_run(make: Make, root: Path) -> None:
    make("old", job_id=12)
    new = make("new", job_id=12)
    assert find_run(root, "12") == new


def test_a_whole_name_wins_over_a_beginning(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "20261118-110640")
    first = make()
    make()
    make("digits-long")
    assert find_run(root, first.name) == first
    assert find_run(root, "digits-long").name == "digits-long-20261118-110640"


def test_a_task_of_an_array_is_found_by_its_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, resolved in (("a_3", {}), ("b", {"array": "0-8:2"}), ("b_2x", {}), ("c", {})):
        create_run(root, "x", name, spec_text="", resolved=resolved, script="")
    array = find_run(root, "b")
    array.append_event("submitted", job_id=12)
    assert array.task_ids() == (0, 2, 4, 6, 8)
    for ident in ("b_2", "12_2", f"{array.name}_2", f"{array.ident}_2"):
        task = find_run(root, ident)
        assert (task, task.name, task.slurm_id) == (array.of_task(2), f"{array.name}_2", "12_2")
        assert task.task_ids() == ()
    # What a run is called wins, and a run that is no array has no tasks.
    assert find_run(root, "a_3").task is None
    for ident, words in (("b_3", "b-.* has no task 3.\nIts tasks are 0,2,4,6,8"), ("c_1", "There is no run")):
        with pytest.raises(NotFoundError, match=words):
            find_run(root, ident)


def test_an_end_of_a_task_that_never_started_makes_its_folder(root: Path) -> None:
    run = create_run(root, "x", "a", spec_text="", resolved={"array": "1-2"}, script="")
    run.of_task(2).append_end(0, "CANCELLED", None, 15, "cancelled", job_id=9)
    assert [path.name for path in run.paths.tasks_dir.iterdir()] == ["2"]
    assert run.of_task(2).attempts()[0].job_id == 9


def test_a_name_of_two_runs_is_refused_with_both(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "20261118-110640")
    make(experiment="a")
    make(experiment="b")
    with pytest.raises(UsageError) as raised:
        find_run(root, "digits")
    assert "fits 2 runs: 'b/digits-20261118-110640', 'a/digits-20261118-110640'.\n" in str(raised.value)
    assert find_run(root, "a/digits-20261118-110640").experiment == "a"


def test_a_name_of_many_runs_is_refused_with_the_newest(make: Make, root: Path) -> None:
    for _ in range(7):
        make()
    with pytest.raises(UsageError, match=r"fits 7 runs: .* and 3 more\.\n.*@last"):
        find_run(root, "dig")


@pytest.mark.parametrize(
    ("ident", "hint"),
    [
        ("digist", "Did you mean 'digits-20261118-110640'?"),
        ("digits-20261118-110641", "Did you mean 'digits-20261118-110640'?"),
        ("something", "The newest run is 'demo/digits-20261118-110640'."),
        ("99", "The newest run is 'demo/digits-20261118-110640'; @last names it."),
        ("", "The newest run is 'demo/digits-20261118-110640'."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch, ident: str, hint: str
) -> None:
    at(monkeypatch, "20261118-110640")
    make(job_id=12)
    with pytest.raises(NotFoundError) as raised:
        find_run(root, ident)
    assert str(raised.value).splitlines()[-1] == hint


def test_the_job_id_is_known_from_the_batch_part_when_the_client_died(make: Make, root: Path) -> None:
    run = make()
    jsonl.append(run.paths.attempts, {"attempt": 0, "job_id": 31, "event": "start", "time": 1.0})
    assert run.job_id == 31
    assert find_run(root, "31") == run


def test_an_end_is_written_for_the_job_that_was_submitted(make: Make) -> None:
    run = make(job_id=12)
    run.append_end(0, "NODE_FAIL", None, 9, "node_failure", end=5.0)
    (end,) = run.ends()
    assert {**end, "time": 0} == {
        "attempt": 0,
        "job_id": 12,
        "state": "NODE_FAIL",
        "exit_status": None,
        "signal": 9,
        "cause": "node_failure",
        "end": 5.0,
        "time": 0,
    }
    with pytest.raises(ValueError, match="'eaten' is no end cause; they are completed, failed"):
        run.append_end(0, "FAILED", 1, None, "eaten")


def test_a_record_can_be_read_with_plain_json(make: Make) -> None:
    run = make(job_id=12)
    run.append_event("cancel_requested", by="a person")
    events = [json.loads(line) for line in run.paths.events.read_text().splitlines()]
    assert [event["event"] for event in events] == ["created", "submitted", "cancel_requested"]
    assert abs(events[-1]["time"] - time.time()) < 60


def test_logs_come_by_rank(make: Make) -> None:
    run = make()
    folder = run.paths.logs_dir / "0"
    folder.mkdir()
    for name in ("10.out", "9.out", "9.err", "core.out", "x"):
        (folder / name).touch()
    assert [path.name for path in run.paths.logs(0)] == ["9.err", "9.out", "10.out"]
    assert run.paths.logs(1) == []
    assert run.paths.log(0, 9, "err") == folder / "9.err"
