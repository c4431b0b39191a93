"""What every command prints with: one set of keys in every form, ids alone, and a stdout that fails."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpcai.cli import local, queue
from hpcai.cli.columns import cutting
from hpcai.cli.output import emit_rows
from hpcai.runs.record import create_run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.local import record
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import Place
from tests import warm
from tests.staging.sets import write_set

pytestmark = pytest.mark.programs


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """A place without Slurm, with one run, one embedded cluster that is down, one data set and one file."""
    run = create_run(tmp_path / "runs", "default", "one", spec_text="", resolved={}, script="")
    run.append_event("submitted", where="local")
    run.paths.log(0, 0).parent.mkdir()
    run.paths.log(0, 0).write_text("said\n")
    run.paths.attempts.write_text('{"attempt": 0, "event": "start", "node_list": "n1", "time": 1}\n')
    write_set(tmp_path / "set", {"a.tar": 10})
    (tmp_path / "job.yaml").write_text('kind: job\nname: x\ncommand: "true"\n')
    where = Place(tmp_path / "cache/hpcai", "alpha")
    where.state.mkdir(parents=True)
    shape = Shape(nodes=2, cpus_per_node=4, gpus_per_node=0, memory_mib_per_node=1000, blob=False)
    paths = (where.state, where.cache / "slurm")
    record.save_cluster(where, record.Cluster(shape, *paths, "22.05.8", 20000, (20001, 20002), None, ()))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HPCAI_", "AZURE_"))}
    return {
        **kept,
        "HPCAI_RUNS_ROOT": str(tmp_path / "runs"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": "/nonexistent",
    }


def hpcai(*words: str, environ: Mapping[str, str], **how: Any) -> subprocess.CompletedProcess[str]:
    if not how:
        return warm.hpcai(*words, env=environ)
    argv = [sys.executable, "-m", "hpcai", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run(argv, env=environ, text=True, check=False, **streams)


def commands(folder: Path) -> dict[str, tuple[str, ...]]:
    """Every command that prints rows or facts and needs no Slurm."""
    data = (folder / "set").as_uri()
    return {
        "check": ("check", str(folder / "job.yaml")),
        "local status": ("local", "status"),
        "one cluster": ("local", "status", "--name", "alpha"),
        "show": ("show", "one"),
        "report": ("report", "one"),
        "data ls": ("data", "ls", folder.as_uri()),
        "shards": ("data", "ls", data),
        "data pull": ("data", "pull", data, "--to", str(folder / "out")),
        "dry run": ("submit", "--dry-run", str(folder / "job.yaml")),
    }


NAMES = tuple(commands(Path("/")))


@pytest.mark.parametrize("name", NAMES)
def test_csv_has_the_columns_that_json_has_as_keys(name: str, tmp_path: Path, site: dict[str, str]) -> None:
    words = commands(tmp_path)[name]
    done = [hpcai(*words, "-o", form, environ=site) for form in ("json", "jsonl", "csv")]
    assert [one.returncode for one in done] == [0, 0, 0], done[0].stderr
    whole = json.loads(done[0].stdout)
    assert whole.pop("schema_version") == 1
    (line, *_) = map(json.loads, done[1].stdout.splitlines())
    (head, *rows) = csv.reader(io.StringIO(done[2].stdout))
    if head == ["field", "value"]:
        assert [field for field, _ in rows] == list(whole) == list(line)[1:]
    else:
        ((entry, *_),) = whole.values()
        assert head == list(entry) == list(line)[1:]


def test_a_job_in_the_queue_has_the_same_keys_in_every_form() -> None:
    row = queue.row_of(JobInfo(7, "x", "RUNNING"), 10.0)
    assert tuple(row) == queue.COLUMNS
    assert set(queue.SHOWN) <= set(queue.for_people(JobInfo(7, "x", "RUNNING"), 10.0))
    assert set(local.SHOWN) <= set(local.COLUMNS)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("check", ""),
        ("local status", "alpha\n"),
        ("one cluster", "alpha\n"),
        ("show", "{run}\n"),
        ("report", "{folder}/runs/default/reports/{run}/report.html\n"),
        ("data ls", "file://{folder}/set\n"),
        ("shards", "a.tar\n"),
    ],
)
def test_quiet_prints_ids_only(name: str, printed: str, tmp_path: Path, site: dict[str, str]) -> None:
    (run,) = (tmp_path / "runs/default").iterdir()
    done = hpcai(*commands(tmp_path)[name], "-q", environ=site)
    assert (done.returncode, done.stdout) == (0, printed.format(folder=tmp_path, run=run.name)), done.stderr


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "table") for name in NAMES), ("show", "json"), ("data ls", "csv")]
)
def test_a_full_stdout_is_7_and_one_clear_line(
    name: str, form: str, tmp_path: Path, site: dict[str, str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = hpcai(*commands(tmp_path)[name], "-o", form, environ=site, stdout=full)
    assert done.returncode == 7, done.stderr
    assert done.stderr.endswith(
        "hpcai: What would be printed is lost: stdout cannot be written (No space left on device).\n"
        "Print to another place, or make room there.\n"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("logs", "one"), ("cluster", "-h")])
def test_a_full_stdout_of_what_is_no_table(words: tuple[str, ...], site: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = hpcai(*words, environ=site, stdout=full)
    assert (done.returncode, done.stderr.count("stdout cannot be written")) == (7, 1), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status"), [(("show", "none"), 5), (("shwo",), 2), (("show", "one"), 0), (("report", "one"), 0)]
)
def test_a_full_stderr_changes_no_status(words: tuple[str, ...], status: int, site: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        assert hpcai(*words, environ=site, stderr=full).returncode == status


def test_a_closed_stdout_is_told(site: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{sys.executable}' -m hpcai logs one >&-"],
        env=site,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (7, "hpcai: What would be printed is lost: stdout is closed.\n")


@pytest.mark.parametrize(("no_color", "colored"), [("1", False), ("", True)])
def test_no_color_is_respected_on_a_terminal(
    no_color: str, colored: bool, tmp_path: Path, site: dict[str, str]
) -> None:
    ours, theirs = os.openpty()
    words = commands(tmp_path)["check"]
    done = hpcai(*words, environ={**site, "NO_COLOR": no_color, "TERM": "xterm"}, stdout=theirs)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert (b"\x1b[" in os.read(ours, 10_000)) == colored
    os.close(ours)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_on_a_terminal_what_may_give_way_does_and_the_rest_stays_whole(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 20)))
    row = {"key": "k" * 30, "value": "v " * 100, "origin": "/o/" * 5}
    emit_rows([row], ("key", "value", "origin"), "table", kind="rows", room=cutting("value"))
    [_, line] = capsys.readouterr().out.splitlines()
    assert (line.startswith("k" * 30), line.endswith("/o/" * 5)) == (True, True)
    assert (len(line) <= 60, "..." in line) == (is_terminal, is_terminal)
