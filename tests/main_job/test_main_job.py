"""The main job on real parts: Blob, staging, Horovod on 2 nodes, a node that dies, requeue, report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from hpcai.runs.find import find_run
from hpcai.runs.record import Run
from tests import warm
from tests.real_cluster import RealBlob, RealCluster
from tests.waiting import until

ROOT = Path(__file__).parents[2]
SPEC = """\
kind: job
name: small
experiment: main job
nodes: 2
nodelist: n[1-2]
cpus_per_task: 1
time_min: 10
requeue: true
launcher: horovod
data:
  - name: digits
    source: azure://main-job/digits
command: >-
  "$HPCAI_PYTHON" -m hpcai.train --data "$HPCAI_DATA_DIGITS" --model resnet18 --image-size 32
  --batch-size 32 --epochs 4 --log-every-steps 1 --checkpoint-every-steps 5
"""
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("main job with spaces")


@pytest.fixture(scope="module")
def environ(cluster: RealCluster, blob: RealBlob, place: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{cluster.environ['PATH']}"
    return {**cluster.environ, "PATH": path, "HPCAI_RUNS_ROOT": str(place / "runs root"), "NO_COLOR": "1"}


def hpcai(environ: dict[str, str], *words: str | Path) -> str:
    done = warm.hpcai(*words, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(cluster: RealCluster, environ: dict[str, str], place: Path) -> Iterator[tuple[Run, str]]:
    """The run after its end, and what following it printed. Node n2 dies while it trains."""
    writer = ROOT / "examples" / "digits" / "write_images.py"
    subprocess.run([sys.executable, str(writer), str(place / "images")], check=True, capture_output=True)
    hpcai(environ, "data", "pack", place / "images", place / "shards", "--name", "digits", "--shard-mib", "1")
    hpcai(environ, "data", "push", place / "shards", "azure://main-job/digits")
    (place / "job.yaml").write_text(SPEC.replace("main job", "main-job"))
    argv = [sys.executable, "-m", "hpcai", "submit", str(place / "job.yaml"), "--follow", "--quiet"]
    following = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        run = until(lambda: _submitted(place / "runs root"), 30, "the job is submitted")
        until(lambda: _steps(run) >= 15, 120, "15 steps are trained")
        hpcai(environ, "local", "fault", "kill-node", "n2", "--name", cluster.name)
        # It comes back as after a reboot, and the requeued job lands on it again.
        until(lambda: _state(environ, run) == "PENDING", 60, "the job is requeued")
        hpcai(environ, "local", "fault", "resume", "n2", "--name", cluster.name)
        out, words = following.communicate(timeout=240)
    finally:
        following.kill()
        hpcai(environ, "local", "fault", "resume", "n2", "--name", cluster.name)
    assert following.returncode == 0, words
    assert out.strip() == run.name
    yield run, words


def _submitted(runs_root: Path) -> Run | None:
    found = sorted(runs_root.glob("main-job/small-*/resolved.json"))
    return Run(found[0].parent) if found else None


def _state(environ: dict[str, str], run: Run) -> str:
    state: str = json.loads(hpcai(environ, "show", run.name, "-o", "json"))["state"]
    return state


def _steps(run: Run) -> int:
    loss = run.metrics().get("loss")
    return max(loss.steps, default=0) if loss else 0


def test_the_job_was_requeued_and_resumed_where_it_was(finished: tuple[Run, str]) -> None:
    run, _ = finished
    first, second = run.attempts()
    assert first.cause == "node_failure"
    assert second.cause == "completed"
    assert second.exit_status == 0
    marks = [(mark.name, mark.attempt) for mark in run.marks()]
    assert ("resumed", 1) in marks
    assert ("saved", 1) in marks
    steps = run.metrics()["loss"].steps
    assert steps == list(range(steps[0], steps[-1] + 1)), "a step is missing or stands twice"


def test_it_learned(finished: tuple[Run, str]) -> None:
    run, _ = finished
    assert run.metrics()["top1"].values[-1] > 0.5


def test_every_node_staged_for_itself_and_used_it_again(finished: tuple[Run, str]) -> None:
    run, _ = finished
    lines = {node: [(line["event"], line["attempt"]) for line in found] for node, found in run.data().items()}
    assert lines["n1"] == [("done", 0), ("reused", 1)]
    assert lines["n2"] == [("done", 0), ("reused", 1)]
    versions = {line["version"] for found in run.data().values() for line in found}
    assert len(versions) == 1


def test_following_told_what_happened(finished: tuple[Run, str]) -> None:
    run, words = finished
    assert "attempt 0 lost a node" in words
    assert "training goes on from step" in words
    assert f"{run.name} completed after" in words


def test_a_finished_run_is_found_shown_and_reported(
    finished: tuple[Run, str], environ: dict[str, str], place: Path
) -> None:
    run, _ = finished
    shown = json.loads(hpcai(environ, "show", run.name, "-o", "json"))
    assert shown["state"] == "COMPLETED"
    assert find_run(place / "runs root", "@last").name == run.name
    paths = hpcai(environ, "report", run.name, "-d", place / "report").split("\n")
    html = next(Path(path) for path in paths if path.endswith(".html")).read_text()
    assert "node_failure" in html or "node failure" in html
    assert "http://" not in html.replace("http://www.w3.org", "").replace(
        environ["HPCAI_STORAGE_ENDPOINT"], ""
    )


def test_no_secret_is_anywhere(finished: tuple[Run, str], blob: RealBlob, place: Path) -> None:
    run, words = finished
    assert blob.account_key not in words
    for file in place.rglob("*"):
        if file.is_file():
            assert blob.account_key.encode() not in file.read_bytes(), file
    assert run.paths.script.exists()


def submit_of(environ: dict[str, str], place: Path, source: str) -> subprocess.CompletedProcess[str]:
    """The job with its data from elsewhere, followed to its end."""
    file = place / "elsewhere.yaml"
    file.write_text(SPEC.replace("main job", "main-job").replace("main-job/digits", source))
    argv = [sys.executable, "-m", "hpcai", "submit", str(file), "--follow"]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)


def test_data_that_is_not_there_takes_no_nodes(environ: dict[str, str], place: Path) -> None:
    done = submit_of(environ, place, "absent/x")
    assert done.returncode == 5, done.stderr
    assert "There is no container 'absent'" in done.stderr
    assert " is job " not in done.stderr


def test_a_shard_damaged_in_blob_ends_the_job_as_damaged_data(
    finished: tuple[Run, str], environ: dict[str, str], blob: RealBlob, place: Path
) -> None:
    hpcai(environ, "data", "pack", place / "images" / "val", place / "few", "--name", "few")
    hpcai(environ, "data", "push", place / "few", "azure://main-job/few")
    credential = {"account_name": blob.account, "account_key": blob.account_key}
    with ContainerClient(blob.endpoint, "main-job", credential=credential) as container:
        [shard, *_] = [name for name in container.list_blob_names() if re.match(r"few/.*\.tar$", name)]
        whole = container.download_blob(shard).readall()
        container.upload_blob(shard, whole[:-1] + bytes([whole[-1] ^ 1]), overwrite=True)
    done = submit_of(environ, place, "main-job/few")
    assert done.returncode == 7, done.stderr
    assert shard.removeprefix("few/") in done.stderr
    assert "hpcai logs " in done.stderr and " --batch" in done.stderr
