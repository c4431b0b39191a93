"""JSON files of a record: whole, and of a version that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import StageError
from hpcai.runs import files


def test_json_comes_back_with_its_version_first(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    files.write_json(path, {"python": "3.11"})
    assert path.read_text().startswith('{\n  "schema_version": 1,')
    assert files.read_json(path) == {"schema_version": 1, "python": "3.11"}


def test_no_file_is_an_empty_object(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "none.json") == {}


@pytest.mark.parametrize("version", ["2", "0", '"1"', "null"])
def test_an_unknown_version_is_refused_by_name(tmp_path: Path, version: str) -> None:
    path = tmp_path / "resolved.json"
    path.write_text(f'{{"schema_version": {version}, "kind": "job"}}')
    with pytest.raises(StageError) as raised:
        files.read_json(path)
    shown = {"null": "None", '"1"': "'1'"}.get(version, version)
    assert str(raised.value).splitlines() == [
        f"{str(path)!r} has schema_version {shown}.",
        "This hpcai reads versions 1 to 1.",
        "pip install --upgrade hpcai",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema_version": 1', "is damaged: it is not JSON"),
        (b"[1]", "is damaged: it holds no JSON object"),
        (b"\xff\xfe\x00", "cannot be read: it is not text"),
        (b"", "is damaged: it is not JSON"),
    ],
)
def test_a_damaged_file_says_so(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "resolved.json"
    path.write_bytes(content)
    with pytest.raises(StageError, match=says):
        files.read_json(path)


def test_what_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(StageError, match="cannot be written"):
        files.write_text(tmp_path / "a.json", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
