"""`hpcai data` as a user runs it: exit statuses, stdout and stderr, and what survives a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcai.runs import jsonl
from hpcai.staging.manifest import CHUNK_BYTES, Manifest
from hpcai.staging.push import push
from tests import warm
from tests.real_cluster import RealBlob
from tests.staging.front import Front, Request, Spoil, front
from tests.staging.sets import files_of, write_images, write_set
from tests.waiting import until

HPCAI = (sys.executable, "-m", "hpcai", "data")
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("HPCAI_", "AZURE_"))}


def data(*words: str | Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return warm.hpcai("data", *words, env={**PLAIN, **(environ or {})})


def start(*words: str | Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    argv = [*HPCAI, *map(str, words)]
    return subprocess.Popen(
        argv, env={**PLAIN, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "im ages", {"train/cat": 5, "train/dog": 4, "val/cat": 1, "val/dog": 1})
    return tmp_path / "im ages"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


AS_NOBODY = """
import os, sys
import hpcai.cli.data, hpcai.staging.catalogue, hpcai.staging.pack, hpcai.staging.pull, hpcai.staging.push
from hpcai.cli.root import run
os.setgid(65534)
os.setuid(65534)
sys.argv = ["hpcai", "data", *sys.argv[1:]]
run()
"""


@pytest.fixture
def nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`hpcai data` of another user, for whom this Python, which root alone may read, is loaded first."""
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", AS_NOBODY, *map(str, words)]
        return subprocess.run(argv, env=PLAIN, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "closed", "answer"),
    [
        (("ls", "file://{}/set"), "set", "'{}/set' cannot be read: Permission denied."),
        (("ls", "file://{}/set"), "set/manifest.json", "'{}/set/manifest.json' cannot be read: "),
        (("pack", "{}/images", "{}/new", "--name", "x"), "images/cat", "'{}/images/cat' cannot be read: "),
        (("pack", "{}/images", "{}/new", "--name", "x"), "images/cat/im0.jpg", "im0.jpg' cannot be read: "),
        (
            ("pack", "{}/images", "{}/closed/new", "--name", "x"),
            "closed",
            "'{}/closed/new' cannot be written: ",
        ),
        (("push", "{}/set", "azure://data/set"), "set/manifest.json", "manifest.json' cannot be read: "),
        (("push", "{}/set", "azure://data/set"), "set/a.tar", "'{}/set/a.tar' cannot be read: "),
        (("pull", "file://{}/set", "--to", "{}/new"), "set/a.tar", "'{}/set/a.tar' cannot be read: "),
        (("pull", "file://{}/set", "--to", "{}/closed/a"), "closed", "'{}/closed/a' cannot be filled: "),
    ],
)
def test_what_may_not_be_read_or_written_is_named(
    words: tuple[str, ...],
    closed: str,
    answer: str,
    open_folder: Path,
    nobody: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PLAIN, "AZURE_STORAGE_ACCOUNT", "acct")
    root = open_folder / "root"
    write_set(root / "set", {"a.tar": 100})
    write_images(root / "images", {"cat": 1})
    (root / "closed").mkdir()
    root.chmod(0o777)
    (root / closed).chmod(0)
    done = nobody(*(word.format(root) for word in words))
    assert done.returncode == 7, done.stderr
    assert answer.format(root) in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.programs
def test_a_folder_that_may_not_be_read_hides_no_other(
    open_folder: Path, nobody: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name in ("closed", "open"):
        write_set(open_folder / name, {"a.tar": 100}, name=name)
    (open_folder / "closed").chmod(0)
    done = nobody("ls", open_folder.as_uri(), "-q")
    assert (done.returncode, done.stdout) == (0, f"{open_folder.as_uri()}/open\n")
    assert "manifest.json' cannot be read: Permission denied" in done.stderr


@pytest.mark.programs
def test_what_is_missing_is_missing_also_where_nothing_may_be_listed(
    open_folder: Path, nobody: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    open_folder.chmod(0o711)
    done = nobody("ls", (open_folder / "none").as_uri())
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines()[0] == f"hpcai: There is no folder '{open_folder}/none'."


@pytest.mark.real
def test_from_images_to_a_node_and_its_record(
    images: Path, tmp_path: Path, scratch: Path, blob: RealBlob
) -> None:
    url = f"azure://{tmp_path.name.replace('_', '-').lower()[:40].strip('-')}-{os.getpid()}/pets"
    environ = {**blob.variables, "HPCAI_SCRATCH": str(scratch), "HPCAI_ATTEMPT": "2"}
    packed = data("pack", images, tmp_path / "packed", "--name", "pets", "-q")
    assert packed.returncode == 0, packed.stderr
    version = packed.stdout.strip()
    pushed = data("push", tmp_path / "packed", url, "-o", "json", environ=environ)
    assert json.loads(pushed.stdout)["data_sets"][0]["version"] == version
    listed = data("ls", url.rpartition("/")[0], "-o", "csv", environ=environ)
    assert [row["url"] for row in csv.DictReader(io.StringIO(listed.stdout))] == [url]
    shards = data("ls", url, "-q", environ=environ)
    assert shards.stdout.split() == ["train-000000.tar", "val-000000.tar"]

    link, record = scratch / "hpcai/jobs/7/my-pets", tmp_path / "n1.jsonl"
    pulled = data("pull", url, "--link", link, "--record", record, environ=environ)
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.strip() == str(scratch / "hpcai/data/pets" / version)
    assert len(pulled.stderr.splitlines()) == 2
    assert Manifest.read(link).version == version
    data("pull", url, "--link", link, "--record", record, environ=environ)
    first, second = jsonl.read(record)
    size = Manifest.read(link).bytes
    assert abs(first["time"] - time.time()) < 60
    assert {
        key: first[key] for key in ("data", "source", "version", "event", "bytes", "path", "attempt")
    } == {
        "data": "my-pets",
        "source": url,
        "version": version,
        "event": "done",
        "bytes": size,
        "path": str(scratch / "hpcai/data/pets" / version),
        "attempt": 2,
    }
    assert (first["bytes_from"], second["bytes_from"]) == (
        {"blob": size, "cache": 0},
        {"blob": 0, "cache": size},
    )
    assert second["event"] == "reused"


@pytest.fixture
def large(tmp_path: Path, blob: RealBlob) -> tuple[Path, str]:
    """A set of two shards and five chunks, and its URL."""
    write_set(tmp_path / "large", {"a.tar": 3 * CHUNK_BYTES, "b.tar": CHUNK_BYTES + 10})
    url = f"azure://large-{os.getpid()}-{tmp_path.name[-30:].replace('_', '-').lower().strip('-')}/set"
    push(tmp_path / "large", url, blob.variables)
    return tmp_path / "large", url


class Dam:
    """A rule that lets some shard requests through and holds the others until it is opened."""

    def __init__(self, passing: int) -> None:
        self.open = threading.Event()
        self.passing = threading.Semaphore(passing)
        self.held = 0

    def __call__(self, request: Request) -> Spoil | None:
        if (
            request.path.endswith(".tar")
            and not self.open.is_set()
            and not self.passing.acquire(blocking=False)
        ):
            self.held += 1
            self.open.wait(30)
        return None


def environ_of(through: Front, blob: RealBlob, scratch: Path) -> dict[str, str]:
    return {**blob.variables, "HPCAI_STORAGE_ENDPOINT": through.endpoint, "HPCAI_SCRATCH": str(scratch)}


def published(scratch: Path) -> list[str]:
    return [p.name for p in (scratch / "hpcai/data/set").iterdir() if not p.name.startswith(".")]


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_pull_that_was_ended_goes_on_where_it_was(
    how: signal.Signals, large: tuple[Path, str], scratch: Path, blob: RealBlob
) -> None:
    folder, url = large
    dam = Dam(passing=2)
    with front(blob.endpoint, dam) as through:
        environ = environ_of(through, blob, scratch)
        pulling = start("pull", url, environ=environ)
        until(lambda: dam.held == 3 and len(through.gets()) == 5, 20, "three requests are held")
        # Two chunks of five have been answered; they are on the disk once their part says so.
        until(lambda: sum(1 for _ in written_chunks(scratch, folder)) == 2, 20, "two chunks are written")
        pulling.send_signal(how)
        _, words = pulling.communicate(timeout=30)
        assert pulling.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how], words
        assert "Traceback" not in words
        assert ("Stopped." in words) == (how != signal.SIGKILL)
        assert published(scratch) == []
        kept = sum(1 for _ in written_chunks(scratch, folder))
        dam.open.set()
        through.requests.clear()
        again = data("pull", url, environ=environ)
        assert again.returncode == 0, again.stderr
        assert len(through.gets()) == 5 - kept
    assert {
        path: text for path, text in files_of(Path(again.stdout.strip())).items() if path != "manifest.json"
    } == {path: text for path, text in files_of(folder).items() if path != "manifest.json"}


def written_chunks(scratch: Path, folder: Path):  # type: ignore[no-untyped-def]
    """The chunks of unfinished and finished shards below `scratch` that are as in `folder`."""
    for shard in Manifest.read(folder).shards():
        whole = (folder / shard.path).read_bytes()
        for path in scratch.rglob(f"{shard.path}*"):
            text = path.read_bytes()
            for index in range(len(shard.chunks)):
                begin, length = shard.chunk_range(index)
                if text[begin : begin + length] == whole[begin : begin + length]:
                    yield shard.path, index


@contextmanager
def two_pulls(
    url: str, scratch: Path, blob: RealBlob
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str], Dam, Front]]:
    """A pull whose five requests are held, and another of the same node that waits for it."""
    dam = Dam(passing=0)
    with front(blob.endpoint, dam) as through:
        environ = environ_of(through, blob, scratch)
        one = start("pull", url, environ=environ)
        until(lambda: dam.held == 5, 20, "five requests are held")
        two = start("pull", url, environ=environ)
        assert two.stderr is not None
        assert "waiting for it" in two.stderr.readline()
        yield one, two, dam, through


@pytest.mark.real
def test_two_pulls_on_one_node_download_once(large: tuple[Path, str], scratch: Path, blob: RealBlob) -> None:
    with two_pulls(large[1], scratch, blob) as (one, two, dam, through):
        dam.open.set()
        (path, _), (same, words) = one.communicate(timeout=30), two.communicate(timeout=30)
        assert (one.returncode, two.returncode) == (0, 0)
        assert path == same
        assert "unchanged since it was verified" in words
        assert len(through.gets()) == 5


@pytest.mark.real
def test_the_waiting_pull_takes_over_from_one_that_is_killed(
    large: tuple[Path, str], scratch: Path, blob: RealBlob
) -> None:
    with two_pulls(large[1], scratch, blob) as (one, two, dam, _):
        one.kill()
        one.communicate()
        dam.open.set()
        two.communicate(timeout=30)
        assert two.returncode == 0


@pytest.mark.real
def test_no_key_is_shown_or_written_anywhere(large: tuple[Path, str], tmp_path: Path, blob: RealBlob) -> None:
    (tmp_path / "node").mkdir()
    environ = {**blob.variables, "HPCAI_SCRATCH": str(tmp_path / "node"), "RUST_LOG": "trace"}
    wrong = "A" * 86 + "=="
    runs = [
        data("pull", large[1], "--record", tmp_path / "node/r.jsonl", environ=environ),
        data("push", large[0], large[1], environ=environ),
        data("ls", f"{large[1]}x", environ=environ),
        data(
            "pull", large[1], environ={**environ, "HPCAI_STORAGE_CREDENTIALS": "", "AZURE_STORAGE_KEY": wrong}
        ),
    ]
    assert [run.returncode for run in runs] == [0, 0, 0, 4]
    shown = "".join(run.stdout + run.stderr for run in runs).encode()
    texts = [shown, *files_of(tmp_path / "node").values()]
    for secret in (blob.account_key, blob.account_key[:20], wrong):
        assert not any(secret.encode() in text for text in texts)


@pytest.mark.real
def test_statuses_of_the_service(
    large: tuple[Path, str], tmp_path: Path, scratch: Path, blob: RealBlob
) -> None:
    environ = {**blob.variables, "HPCAI_SCRATCH": str(scratch)}
    container = large[1].rpartition("/")[0]
    for words, changes, status, start_of_error in (
        (("pull", f"{container}/sett"), {}, 5, "There is no data set at"),
        (("pull", f"{container}x/set"), {}, 5, "There is no container"),
        (("ls", f"{container}x"), {}, 5, "There is no container"),
        (("pull", large[1], "--version", "0" * 32), {}, 5, f"{large[1]} holds version"),
        (("pull", large[1], "--to", str(tmp_path)), {}, 2, f"'{tmp_path}' already holds something else"),
        (("pull", large[1]), {"HPCAI_STORAGE_CREDENTIALS": ""}, 4, "There are no credentials for"),
        (
            ("pull", large[1]),
            {"HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:1/x"},
            6,
            "http://127.0.0.1:1/x does not",
        ),
        (
            ("pull", large[1]),
            {"HPCAI_STORAGE_ENDPOINT": "http://10.0.0.1/x"},
            2,
            "'http://10.0.0.1/x' would send",
        ),
    ):
        run = data(*words, environ={**environ, **changes})
        assert (run.returncode, run.stdout) == (status, ""), (words, run.stderr)
        error = run.stderr[run.stderr.rindex("hpcai: ") :]
        assert error.startswith(f"hpcai: {start_of_error}")
        assert len(error.splitlines()) <= 3


@pytest.mark.real
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    large: tuple[Path, str], tmp_path: Path, blob: RealBlob
) -> None:
    nowhere = "http://127.0.0.1:9"
    environ = {**blob.variables, "HTTP_PROXY": nowhere, "http_proxy": nowhere, "NO_PROXY": "", "no_proxy": ""}
    assert data("pull", large[1], "--to", tmp_path / "out", environ=environ).returncode == 0
    assert data("push", large[0], large[1], environ=environ).returncode == 0


@pytest.mark.real
def test_an_empty_container_is_no_error(blob: RealBlob, large: tuple[Path, str]) -> None:
    run = data("ls", f"{large[1]}/below", environ=blob.variables)
    assert (run.returncode, run.stdout, run.stderr) == (
        0,
        "",
        f"There is no data set at {large[1]}/below or directly below it.\n",
    )


@pytest.mark.programs
def test_nothing_found_has_no_table(tmp_path: Path) -> None:
    run = data("ls", tmp_path.as_uri())
    assert (run.returncode, run.stdout) == (0, "") and "There is no data set" in run.stderr
    assert json.loads(data("ls", tmp_path.as_uri(), "-o", "json").stdout)["data_sets"] == []


@pytest.mark.programs
def test_the_next_command_is_quoted(images: Path, tmp_path: Path) -> None:
    run = data("pack", images, tmp_path / "x y", "--name", "d")
    (following,) = (line for line in run.stderr.splitlines() if line.startswith("Next: "))
    words = ["hpcai", "data", "push", str(tmp_path / "x y"), "azure://CONTAINER/d"]
    assert shlex.split(following.removeprefix("Next: ")) == words


@pytest.mark.programs
def test_statuses_of_bad_words(images: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    for words, status in (
        (("pack", images, tmp_path / "out"), 2),
        (("pack", images, tmp_path / "out", "--name", "a b"), 2),
        (("pack", images, tmp_path / "out", "--name", "a", "--shard-mib", "0"), 2),
        (("pack", images, tmp_path / "out", "--name", "a", "--shard-mib", "inf"), 2),
        (("pack", images, tmp_path / "full", "--name", "a"), 2),
        (("pack", tmp_path / "none", tmp_path / "out", "--name", "a"), 5),
        (("pack", tmp_path / "full", tmp_path / "out", "--name", "a"), 7),
        (("push", tmp_path, "azure://data/x"), 5),
        (("pull", "nonsense", "--to", tmp_path / "out"), 2),
        (("pull", "file:///data/x"), 2),
        (("pull", "file:///data/x", "--to", tmp_path / "out", "--scratch", tmp_path), 2),
        (("pull", "file:///data/x", "--to", tmp_path / "out"), 5),
        (("ls", (tmp_path / "none").as_uri()), 5),
        (("ls", "azure://UPPER"), 2),
    ):
        run = data(*words, environ={"AZURE_STORAGE_ACCOUNT": "acct"})
        assert run.returncode == status, (words, run.stderr)
        assert "Traceback" not in run.stderr
        assert run.stdout == ""


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        (("ls", "file://{folder}/im%20agse"), "Did you mean 'im ages'?"),
        (("ls", "file://{folder}/none/set"), "hpcai data ls file://{folder}"),
        (("pull", "file://{folder}/im%20ages", "--to", "{folder}/out"), "hpcai data ls file://{folder}"),
        (("pack", "{folder}/file", "{folder}/out", "--name", "x"), "Expected are folders of JPEG or PNG"),
        (("pack", "{folder}/none", "{folder}/out", "--name", "x"), "Expected are folders of JPEG or PNG"),
    ],
)
def test_a_missing_source_says_what_to_type_next(
    words: tuple[str, ...], next_step: str, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    run = data(*(word.format(folder=tmp_path) for word in words))
    assert run.returncode == 5, run.stderr
    assert run.stderr.splitlines()[-1].startswith(next_step.format(folder=tmp_path)), run.stderr


@pytest.mark.programs
def test_a_manifest_of_a_later_hpcai_asks_for_that_hpcai(tmp_path: Path) -> None:
    write_set(tmp_path / "set", {"a.tar": 10})
    path = tmp_path / "set/manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    run = data("ls", (tmp_path / "set").as_uri())
    assert run.returncode == 7
    assert run.stderr.endswith(
        "was written by a later hpcai: its schema_version is 2, and this one reads 1.\n"
        "pip install --upgrade hpcai\n"
    )


@pytest.mark.programs
def test_a_folder_is_listed_like_a_container(tmp_path: Path) -> None:
    write_set(tmp_path / "sets/one", {"a.tar": 10})
    (tmp_path / "sets/two").mkdir()
    run = data("ls", (tmp_path / "sets").as_uri(), "-o", "jsonl")
    assert [json.loads(line)["url"] for line in run.stdout.splitlines()] == [(tmp_path / "sets/one").as_uri()]


@pytest.mark.programs
def test_a_record_that_cannot_be_written_does_not_fail_the_pull(tmp_path: Path) -> None:
    write_set(tmp_path / "set", {"a.tar": 10})
    run = data(
        "pull", (tmp_path / "set").as_uri(), "--to", tmp_path / "o", "--record", tmp_path / "no/r.jsonl"
    )
    assert run.returncode == 0
    assert "No record was written" in run.stderr


@pytest.mark.programs
def test_the_scratch_of_a_node(tmp_path: Path) -> None:
    write_set(tmp_path / "set", {"a.tar": 10})
    (tmp_path / "nodes/n1").mkdir(parents=True)
    environ = {"HPCAI_SCRATCH": str(tmp_path / "nodes/%n")}
    assert data("pull", (tmp_path / "set").as_uri(), environ=environ).returncode == 2
    run = data("pull", (tmp_path / "set").as_uri(), environ={**environ, "SLURMD_NODENAME": "n1"})
    assert run.stdout.startswith(str(tmp_path / "nodes/n1/hpcai/data/set/"))
