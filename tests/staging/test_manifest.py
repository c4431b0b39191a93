from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.errors import NotFoundError
from hpcai.staging.manifest import (
    CHUNK_BYTES,
    Manifest,
    ManifestError,
    Shard,
    Split,
    is_safe_path,
    parse_manifest,
)

HASH = st.text("0123456789abcdef", min_size=32, max_size=32)
PART = st.text(st.characters(categories=["L", "N"], include_characters=" -_"), min_size=1, max_size=8)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    class_names = draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True))
    paths = iter(draw(st.lists(PART, min_size=9, max_size=9, unique=True)))
    splits = {}
    for split in draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, unique=True)):
        counts = draw(st.lists(st.integers(0, 9), min_size=len(class_names), max_size=len(class_names)))
        cut = draw(st.integers(0, sum(counts)))
        shards = tuple(
            Shard(
                next(paths) + ".tar",
                size := draw(st.integers(0, 3 * CHUNK_BYTES)),
                samples,
                tuple(draw(HASH) for _ in range(-(-size // CHUNK_BYTES))),
                draw(st.none() | st.text(min_size=1, max_size=5)),
            )
            for samples in (cut, sum(counts) - cut)
        )
        splits[split] = Split(sum(counts), tuple(counts), shards)
    return Manifest("set-1", tuple(class_names), splits)


EXAMPLE = Manifest(
    "digits",
    ("a", "b"),
    {
        "train": Split(3, (1, 2), (Shard("train-000000.tar", CHUNK_BYTES + 1, 3, ("0" * 32, "1" * 32)),)),
        "val": Split(1, (1, 0), (Shard("val-000000.tar", 10, 1, ("2" * 32,)),)),
    },
)


@given(manifests())
def test_text_and_manifest_are_inverses(manifest: Manifest) -> None:
    assert parse_manifest(manifest.to_text(), "m") == manifest


@given(manifests())
def test_the_version_does_not_depend_on_etags(manifest: Manifest) -> None:
    tagged = manifest.with_etags({shard.path: "new" for shard in manifest.shards()})
    assert tagged.version == manifest.version
    assert all(shard.etag == "new" for shard in tagged.shards())


def test_the_version_is_stable() -> None:
    # Changing it would make every data set on every node and in every record another one.
    assert EXAMPLE.version == "95ffc769dcfb477cc3b3c8f2cb8b5649"


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        *way, last = [int(word) if word.isdigit() else word for word in path.split(".")]
        place: Any = document
        for word in way:
            place = place[word]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value

    return apply


SHARD = "splits.train.shards.0"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema_version", 2, "was written by a later hpcai: its schema_version is 2, and this one reads 1"),
        ("schema_version", 0, "schema_version is 0, and this hpcai reads 1"),
        ("schema_version", True, "schema_version is True, not a whole number"),
        ("schema_version", KeyError, "schema_version is missing"),
        ("kind", "job", "kind is 'job', not 'manifest'"),
        ("name", "../x", "name is '../x'"),
        ("name", 3, "name is 3, not a text"),
        ("extra", 1, "extra is not a known field"),
        ("class_names", "ab", "class_names is a text, not a list"),
        ("class_names", [], "class_names must hold each class once"),
        ("class_names", ["a", "a"], "class_names must hold each class once"),
        ("class_names.1", None, "class_names[1] is None, not a text"),
        ("class_names.1", "c", "its content hashes to"),
        ("version", "0" * 32, "its content hashes to"),
        ("splits", {}, "splits is empty"),
        ("splits", [], "splits is a list, not an object"),
        ("splits.train.samples", 4, "splits.train.class_counts adds up to 3 samples, not 4"),
        ("splits.train.class_counts", [3], "splits.train.class_counts has 1 counts, not 2"),
        ("splits.train.class_counts.0", -1, "splits.train.class_counts[0] is -1, not a whole number"),
        (f"{SHARD}.samples", 2, "splits.train.shards adds up to 2 samples, not 3"),
        (f"{SHARD}.bytes", 5, "splits.train.shards[0].chunks has 2 hashes for 5 bytes"),
        (f"{SHARD}.bytes", 1.5, "splits.train.shards[0].bytes is 1.5"),
        (f"{SHARD}.chunks.0", "G" * 32, "chunks holds something that is not 32 hex digits"),
        (f"{SHARD}.etag", 7, "splits.train.shards[0].etag is 7, not a text"),
        (f"{SHARD}.path", "../../etc/passwd", "not a plain path inside the data set"),
        (f"{SHARD}.path", "/etc/passwd", "not a plain path inside the data set"),
        (f"{SHARD}.path", "val-000000.tar", "the path 'val-000000.tar' is used twice"),
        (f"{SHARD}.path", "val-000000.tar/x", "lies inside the file 'val-000000.tar'"),
        (f"{SHARD}.path", KeyError, "splits.train.shards[0].path is missing"),
        ("splits.val.shards.0", [], "splits.val.shards[0] is a list, not an object"),
    ],
)
def test_damage_is_named(path: str, value: Any, words: str) -> None:
    document = json.loads(EXAMPLE.to_text())
    change(path, value)(document)
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document), "/data/manifest.json")
    assert words in caught.value.what
    assert "/data/manifest.json" in caught.value.what
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff\xfe", EXAMPLE.to_text()[:200]])
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text, "m")


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(data, "m")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "x.part",
        "manifest.json",
        "a\nb",
        "a\\b",
    ],
)
def test_unsafe_paths(path: str) -> None:
    assert not is_safe_path(path)


@pytest.mark.parametrize("path", ["a.tar", "train/a.tar", "with space.tar", "übung.tar", "sub/manifest.json"])
def test_safe_paths(path: str) -> None:
    assert is_safe_path(path)


@given(st.text(max_size=20))
def test_a_safe_path_stays_inside(path: str) -> None:
    if is_safe_path(path):
        assert Path("/data/set").joinpath(path).resolve().is_relative_to("/data/set")


def test_reading_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no data set"):
        Manifest.read(tmp_path)


def test_shards_of_a_split() -> None:
    assert [shard.path for shard in EXAMPLE.shards()] == ["train-000000.tar", "val-000000.tar"]
    assert [shard.path for shard in EXAMPLE.shards("val")] == ["val-000000.tar"]
    with pytest.raises(NotFoundError, match="no split 'test'"):
        EXAMPLE.shards("test")
