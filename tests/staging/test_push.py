from __future__ import annotations

import shlex
import threading
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, StageError, ToolError, UnreachableError, UsageError
from hpcai.staging.manifest import CHUNK_BYTES, Manifest, parse_manifest
from hpcai.staging.progress import Listener
from hpcai.staging.pull import pull
from hpcai.staging.push import push
from hpcai.staging.source import open_source
from tests.staging.conftest import Store
from tests.staging.front import Request, Spoil, front
from tests.staging.sets import files_of, write_set

SIZES = {"train-000000.tar": CHUNK_BYTES + 100, "deep/with space.tar": 5000, "val-000000.tar": 0}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_set(tmp_path / "packed", SIZES)
    return tmp_path / "packed"


@pytest.mark.real
def test_a_set_goes_to_blob_and_comes_back(packed: Path, store: Store, scratch: Path) -> None:
    lines: list[str] = []
    done = push(packed, store.url(), store.environ, listener=Listener(say=lines.append))
    assert done.sent_bytes == sum(SIZES.values())
    assert lines[0] == f"Made the container {store.container!r}."
    assert all(shard.etag for shard in done.manifest.shards())
    back = pull(store.url(), store.environ, scratch=scratch)
    assert back.version == done.manifest.version == Manifest.read(packed).version
    got, sent = files_of(back.path), files_of(packed)
    assert parse_manifest(got.pop("manifest.json"), "m") == done.manifest
    assert got == {path: data for path, data in sent.items() if path != "manifest.json"}


@pytest.mark.real
def test_the_manifest_is_uploaded_last(packed: Path, store: Store) -> None:
    with front(store.environ["HPCAI_STORAGE_ENDPOINT"]) as through:
        push(packed, store.url(), store.through(through.endpoint))
    written = [each.path.rpartition("/")[2] for each in through.requests if each.method == "PUT"]
    assert written.count("manifest.json") == 1
    assert written[-1] == "manifest.json"


@pytest.mark.real
def test_a_second_push_sends_nothing(packed: Path, store: Store) -> None:
    push(packed, store.url(), store.environ)
    with front(store.environ["HPCAI_STORAGE_ENDPOINT"]) as through:
        assert push(packed, store.url(), store.through(through.endpoint)).sent_bytes == 0
    assert [each for each in through.requests if each.method == "PUT"] == []


@pytest.mark.real
def test_a_push_that_broke_goes_on_where_it_was(packed: Path, store: Store) -> None:
    blocks = threading.Semaphore(1)

    def one_block_only(request: Request) -> Spoil | None:
        is_block = request.method == "PUT" and request.path.endswith("train-000000.tar")
        return Spoil(status=403) if is_block and not blocks.acquire(blocking=False) else None

    with front(store.environ["HPCAI_STORAGE_ENDPOINT"], one_block_only) as through:
        with pytest.raises(ToolError):
            push(packed, store.url(), store.through(through.endpoint))
        assert store.writer().read("manifest.json") is None
        through.rule = lambda _: None
        through.requests.clear()
        done = push(packed, store.url(), store.through(through.endpoint))
    assert 0 < done.sent_bytes < sum(SIZES.values())
    # The other block, and the list that makes a blob of both.
    sent = [e for e in through.requests if e.method == "PUT" and e.path.endswith("train-000000.tar")]
    assert len(sent) == 2


@pytest.mark.real
def test_another_set_is_replaced_only_when_asked(
    packed: Path, store: Store, tmp_path: Path, scratch: Path
) -> None:
    push(packed, store.url(), store.environ)
    other = write_set(tmp_path / "other", {"train-000000.tar": 70}, seed=1)
    with pytest.raises(UsageError, match="holds 'set' of version"):
        push(tmp_path / "other", store.url(), store.environ)
    assert (
        push(tmp_path / "other", store.url(), store.environ, replace=True).manifest.version == other.version
    )
    assert pull(store.url(), store.environ, scratch=scratch).version == other.version
    assert store.writer().state("deep/with space.tar") is None


@pytest.mark.real
def test_a_version_that_cannot_be_replaced_stays(
    packed: Path, store: Store, tmp_path: Path, scratch: Path
) -> None:
    first = push(packed, store.url(), store.environ)
    write_set(tmp_path / "other", SIZES, seed=1)
    (tmp_path / "other/deep/with space.tar").write_bytes(b"x" * 5000)
    with pytest.raises(StageError, match="is damaged"):
        push(tmp_path / "other", store.url(), store.environ, replace=True)
    back = pull(store.url(), store.environ, scratch=scratch)
    assert (back.version, back.from_source) == (first.manifest.version, sum(SIZES.values()))


@pytest.mark.real
def test_an_interrupted_replacement_has_sent_everything_and_leaves_nothing_for_ever(
    packed: Path, store: Store, tmp_path: Path
) -> None:
    push(packed, store.url(), store.environ)
    write_set(tmp_path / "second", {"train-000000.tar": 2 * CHUNK_BYTES, "second.tar": 60}, seed=1)
    write_set(tmp_path / "third", {"third.tar": 50}, seed=2)
    commits = threading.Semaphore(1)

    def one_commit_only(request: Request) -> Spoil | None:
        is_over = request.method == "PUT" and any(each.method == "DELETE" for each in through.requests)
        return Spoil(status=403) if is_over and not commits.acquire(blocking=False) else None

    with front(store.environ["HPCAI_STORAGE_ENDPOINT"], one_commit_only) as through:
        with pytest.raises(ToolError):
            push(tmp_path / "second", store.url(), store.through(through.endpoint), replace=True)
        written = [each.path for each in through.requests if each.method == "PUT"]
    # Three blocks and a note of what is at stake, before anything is taken away; then the two commits.
    assert len(written) == 6
    assert store.writer().read("manifest.json") is None
    push(tmp_path / "third", store.url(), store.environ)
    assert set(open_source(store.url(), store.environ).entries().files) == {"manifest.json", "third.tar"}


@pytest.mark.real
def test_a_reader_of_the_replaced_version_is_refused(
    packed: Path, store: Store, tmp_path: Path, scratch: Path
) -> None:
    push(packed, store.url(), store.environ)
    before = store.writer().read("manifest.json")
    assert before is not None
    write_set(tmp_path / "other", SIZES, seed=1)
    push(tmp_path / "other", store.url(), store.environ, replace=True)
    # As if this reader had read the manifest just before it was replaced.
    store.writer().put("manifest.json", before)
    with pytest.raises(StageError, match="has changed since its manifest was written"):
        pull(store.url(), store.environ, scratch=scratch)
    assert [p.name for p in (scratch / "hpcai/data/set").iterdir() if not p.name.startswith(".")] == []


@pytest.mark.real
def test_a_foreign_blob_of_the_same_name_is_overwritten(packed: Path, store: Store, scratch: Path) -> None:
    store.writer().create()
    store.writer().put("train-000000.tar", b"x" * SIZES["train-000000.tar"])
    push(packed, store.url(), store.environ)
    assert pull(store.url(), store.environ, scratch=scratch).from_source == sum(SIZES.values())


@pytest.mark.real
def test_a_damaged_manifest_is_replaced_only_when_asked(packed: Path, store: Store) -> None:
    store.writer().create()
    store.writer().put("manifest.json", b"{}")
    with pytest.raises(StageError, match="schema_version is missing"):
        push(packed, store.url(), store.environ)
    push(packed, store.url(), store.environ, replace=True)


def test_a_shard_that_is_damaged_here_is_not_sent(packed: Path) -> None:
    (packed / "deep/with space.tar").write_bytes(b"x" * 4999)
    with pytest.raises(StageError, match="has 4999 bytes, its manifest says 5000"):
        push(packed, "azure://data/set", {"AZURE_STORAGE_ACCOUNT": "acct"})
    (packed / "deep/with space.tar").unlink()
    with pytest.raises(StageError, match="of the manifest is missing"):
        push(packed, "azure://data/set", {"AZURE_STORAGE_ACCOUNT": "acct"})


@pytest.mark.real
def test_a_shard_that_rots_here_is_not_sent(packed: Path, store: Store) -> None:
    (packed / "deep/with space.tar").write_bytes(b"x" * 5000)
    with pytest.raises(StageError, match="is damaged: its bytes from 0 on"):
        push(packed, store.url(), store.environ)
    assert store.writer().read("manifest.json") is None


def test_what_cannot_be_pushed(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no data set"):
        push(tmp_path, "azure://data/set", {"AZURE_STORAGE_ACCOUNT": "acct"})
    with pytest.raises(UsageError, match="is not in Blob storage"):
        push(packed, tmp_path.as_uri(), {})
    with pytest.raises(UsageError, match="azure://data is a whole container") as caught:
        push(packed, "azure://data/", {"AZURE_STORAGE_ACCOUNT": "acct"})
    assert str(caught.value).endswith(f"hpcai data push {shlex.quote(str(packed))} azure://data/set")


@pytest.mark.programs
def test_nobody_there(packed: Path) -> None:
    environ = {
        "AZURE_STORAGE_ACCOUNT": "acct",
        "HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:1/acct",
        "AZURE_STORAGE_KEY": "a2V5",
    }
    with pytest.raises(UnreachableError, match="does not answer for azure://data/set: Connection refused"):
        push(packed, "azure://data/set", environ)
