"""Pulling from the real storage emulator, and what goes wrong between it and the reader."""

from __future__ import annotations

import base64
import random
import threading
from pathlib import Path

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from hpcai.errors import NotFoundError, StageError, ToolError, UnreachableError
from hpcai.staging.blob import status_and_code
from hpcai.staging.catalogue import find_data_sets
from hpcai.staging.manifest import CHUNK_BYTES, ManifestError, parse_manifest
from hpcai.staging.progress import Listener
from hpcai.staging.pull import Pulled, pull
from hpcai.staging.push import push
from hpcai.staging.retry import BusyError, RetryPolicy
from hpcai.staging.source import ChangedError, NoSuchBlob, open_source
from tests.real_cluster import RealBlob
from tests.staging.conftest import Store
from tests.staging.front import Request, Rule, Spoil, front
from tests.staging.sets import files_of, write_set

pytestmark = pytest.mark.real

SIZES = {"train-000000.tar": 2 * CHUNK_BYTES + 100, "deep/with space.tar": 5000, "val-000000.tar": 3000}
PATIENT = RetryPolicy(attempts=12, base_s=0.01, cap_s=0.05)


@pytest.fixture
def pushed(tmp_path: Path, store: Store) -> Path:
    write_set(tmp_path / "packed", SIZES)
    push(tmp_path / "packed", store.url(), store.environ)
    return tmp_path / "packed"


def same_shards(one: Path, two: Path) -> bool:
    there, here = files_of(one), files_of(two)
    return {**there, "manifest.json": b""} == {**here, "manifest.json": b""}


def pull_through(store: Store, scratch: Path, rule: Rule) -> tuple[Pulled, list[str]]:
    """What a patient pull brought from behind a front with this rule, and what it said."""
    lines: list[str] = []
    with front(store.environ["HPCAI_STORAGE_ENDPOINT"], rule) as through:
        done = pull(
            store.url(),
            store.through(through.endpoint),
            scratch=scratch,
            policy=PATIENT,
            listener=Listener(say=lines.append),
        )
    return done, lines


def shard_requests(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith(".tar")


@pytest.mark.parametrize(
    "spoil", [Spoil(status=503), Spoil(status=500), Spoil(reset=True), Spoil(truncate=True)], ids=str
)
def test_what_fails_in_passing_is_tried_again(
    pushed: Path, store: Store, scratch: Path, spoil: Spoil
) -> None:
    numbers = random.Random(3)
    spoiled = iter([True, *(numbers.random() < 0.4 for _ in range(10**4))])
    done, lines = pull_through(
        store, scratch, lambda r: spoil if shard_requests(r) and next(spoiled) else None
    )
    assert same_shards(done.path, pushed)
    assert any(" Try 2 of 12 in " in line for line in lines)


@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_the_service_asks_for_is_kept(
    pushed: Path, store: Store, scratch: Path, status: int
) -> None:
    calm = threading.Event()

    def busy(request: Request) -> Spoil | None:
        # The first GET of a shard, and the question for how long that follows it.
        if request.path.endswith("with%20space.tar") and not calm.is_set():
            if request.method == "HEAD":
                calm.set()
            return Spoil(status=status, headers={"Retry-After": "1"})
        return None

    done, lines = pull_through(store, scratch, busy)
    assert same_shards(done.path, pushed)
    assert done.seconds >= 1
    assert any(f"(HTTP {status}). Try 2 of 12 in 1." in line for line in lines)


def test_wrong_bytes_are_fetched_again(pushed: Path, store: Store, scratch: Path) -> None:
    once = iter([True])
    with front(
        store.environ["HPCAI_STORAGE_ENDPOINT"],
        lambda r: Spoil(flip=True) if shard_requests(r) and next(once, False) else None,
    ) as through:
        done = pull(store.url(), store.through(through.endpoint), scratch=scratch)
    assert same_shards(done.path, pushed)
    assert len(through.gets()) == 6


@pytest.mark.usefixtures("pushed")
def test_a_service_that_stays_busy_is_unreachable_in_the_end(store: Store, scratch: Path) -> None:
    def busy(request: Request) -> Spoil | None:
        return Spoil(status=503) if request.path.endswith(".tar") else None

    hasty = RetryPolicy(attempts=2, base_s=0.01)
    with (
        front(store.environ["HPCAI_STORAGE_ENDPOINT"], busy) as through,
        pytest.raises(BusyError, match="HTTP 503"),
    ):
        pull(store.url(), store.through(through.endpoint), scratch=scratch, policy=hasty)
    assert [p for p in (scratch / "hpcai/data/set").iterdir() if not p.name.startswith(".")] == []


def test_a_shard_that_is_damaged_in_blob(pushed: Path, store: Store, scratch: Path) -> None:
    # As if it had rotted: same ETag in the manifest, other bytes.
    wrong = bytes(SIZES["val-000000.tar"])
    store.writer().put("val-000000.tar", wrong)
    state = store.writer().state("val-000000.tar")
    assert state is not None
    text = store.writer().read("manifest.json")
    assert text is not None
    spoiled = parse_manifest(text, "m").with_etags({"val-000000.tar": state.etag})
    store.writer().put("manifest.json", spoiled.to_text().encode())
    with pytest.raises(StageError, match=r"'val-000000\.tar' at azure:.* is damaged"):
        pull(store.url(), store.environ, scratch=scratch)
    push(pushed, store.url(), store.environ)
    assert same_shards(pull(store.url(), store.environ, scratch=scratch).path, pushed)


def test_a_shard_that_changed_in_blob(pushed: Path, store: Store, scratch: Path) -> None:
    store.writer().put("val-000000.tar", (pushed / "val-000000.tar").read_bytes())
    with pytest.raises(ChangedError) as caught:
        pull(store.url(), store.environ, scratch=scratch)
    assert "'val-000000.tar'" in caught.value.what
    assert "never mixed" in str(caught.value)


@pytest.mark.usefixtures("pushed")
def test_a_shard_that_is_gone(store: Store, scratch: Path) -> None:
    store.writer().delete("val-000000.tar")
    with pytest.raises(NotFoundError, match=r"'val-000000\.tar' at azure:.* does not exist"):
        pull(store.url(), store.environ, scratch=scratch)


@pytest.mark.usefixtures("pushed")
def test_no_container(store: Store, scratch: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        pull(f"azure://{store.container[:-1]}/set", store.environ, scratch=scratch)
    assert f"no container {store.container[:-1]!r}" in caught.value.what
    assert caught.value.next_step == f"Did you mean {store.container!r}?"


@pytest.mark.usefixtures("pushed")
def test_no_data_set_is_told_with_what_is_there(store: Store, scratch: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        pull(store.url("sett"), store.environ, scratch=scratch)
    assert caught.value.allowed == "Nothing at all is there."
    assert caught.value.next_step == "Did you mean 'set'?"
    with pytest.raises(NotFoundError) as caught:
        pull(f"azure://{store.container}", store.environ, scratch=scratch)
    assert caught.value.allowed == "There is: set/."


@pytest.mark.usefixtures("pushed")
def test_a_damaged_manifest(store: Store, scratch: Path) -> None:
    store.writer().put("manifest.json", b'{"schema_version": 1')
    with pytest.raises(ManifestError, match="is not JSON"):
        pull(store.url(), store.environ, scratch=scratch)


def test_a_wrong_key(store: Store, scratch: Path) -> None:
    wrong = {
        **store.environ,
        "HPCAI_STORAGE_CREDENTIALS": "",
        "AZURE_STORAGE_KEY": base64.b64encode(bytes(64)).decode(),
    }
    with pytest.raises(ToolError, match=r"was refused .*HTTP 403, Auth") as caught:
        pull(store.url(), wrong, scratch=scratch)
    assert caught.value.exit_status == 4


def test_no_credentials_for_http(store: Store, scratch: Path) -> None:
    with pytest.raises(ToolError, match="There are no credentials"):
        pull(store.url(), {**store.environ, "HPCAI_STORAGE_CREDENTIALS": ""}, scratch=scratch)


def test_nobody_there(store: Store, scratch: Path) -> None:
    with pytest.raises(
        UnreachableError, match=r"http://127\.0\.0\.1:1/x does not answer .*: Connection refused"
    ):
        pull(store.url(), store.through("http://127.0.0.1:1/x"), scratch=scratch)
    tls = store.environ["HPCAI_STORAGE_ENDPOINT"].replace("http:", "https:")
    with pytest.raises(UnreachableError, match="it does not speak TLS"):
        pull(store.url(), store.through(tls), scratch=scratch)


def test_a_sas_opens_a_container(pushed: Path, store: Store, scratch: Path, blob: RealBlob) -> None:
    sas = generate_container_sas(
        blob.account,
        store.container,
        account_key=blob.account_key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry="2099-01-01T00:00:00Z",
    )
    environ = {**store.environ, "HPCAI_STORAGE_CREDENTIALS": "", "AZURE_STORAGE_SAS_TOKEN": sas}
    assert same_shards(pull(store.url(), environ, scratch=scratch).path, pushed)
    with pytest.raises(ToolError, match="was refused"):
        pull(store.url(), {**environ, "AZURE_STORAGE_SAS_TOKEN": sas[:-4] + "AAA="}, scratch=scratch)


def test_keys_in_the_environment_do_not_win_over_the_file(pushed: Path, store: Store, scratch: Path) -> None:
    environ = {**store.environ, "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x", "AZURE_STORAGE_KEY": "AAAA"}
    assert same_shards(pull(store.url(), environ, scratch=scratch).path, pushed)


def test_an_https_style_url_names_the_same_place(
    pushed: Path, store: Store, scratch: Path, blob: RealBlob
) -> None:
    done = pull(f"{blob.endpoint}/{store.container}/set", store.environ, scratch=scratch)
    assert same_shards(done.path, pushed)


@pytest.mark.usefixtures("pushed")
def test_lists(store: Store) -> None:
    store.writer("broken").put("manifest.json", b"{}")
    store.writer("other").put("readme.txt", b"")
    here, below = find_data_sets(f"azure://{store.container}", store.environ, Listener())
    assert here is None
    assert [(each.url, each.problem is None) for each in below] == [
        (store.url("broken"), False),
        (store.url("set"), True),
    ]
    here, below = find_data_sets(store.url(), store.environ, Listener())
    assert here is not None
    assert below == []


@pytest.mark.usefixtures("pushed")
def test_a_data_set_at_the_root_of_a_container_hides_no_others(store: Store, tmp_path: Path) -> None:
    write_set(tmp_path / "root", {"deep/a.tar": 10}, name="root")
    for name, text in files_of(tmp_path / "root").items():
        store.writer("").put(name, text)
    root = f"azure://{store.container}"
    here, below = find_data_sets(root, store.environ, Listener())
    assert (here, [each.url for each in below]) == (None, [root, store.url()])


@pytest.mark.usefixtures("pushed")
def test_what_obstore_says_is_understood(store: Store) -> None:
    """Pins the text of obstore's errors: everything else here rests on it."""
    source = open_source(store.url(), store.environ)
    for path, start, etag, kind, found in (
        ("val-000000.tar", 0, '"0x0"', ChangedError, (412, "ConditionNotMet")),
        ("val-000000.tar", 10**6, None, ChangedError, (416, "InvalidRange")),
        ("none.tar", 0, None, NoSuchBlob, (404, "BlobNotFound")),
    ):
        with pytest.raises(kind) as caught:
            source.read_range(path, start, 10, etag)
        assert status_and_code(str(caught.value.__cause__)) == found
    with pytest.raises(ChangedError, match="is shorter"):
        source.read_range("val-000000.tar", 2990, 20, None)
