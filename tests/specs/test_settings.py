from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import UsageError
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.settings import SETTINGS, load_settings


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Where each config file belongs, the one that wins last; none is there yet."""
    found = {
        "site": tmp_path / "etc/config.yaml",
        "facts": tmp_path / "config/hpcai/site.yaml",
        "user": tmp_path / "config/hpcai/config.yaml",
        "project": tmp_path / "home/project/hpcai.yaml",
    }
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "home/project/code/deep").mkdir(parents=True)
    return found


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HPCAI_SITE_CONFIG": str(tmp_path / "etc/config.yaml"),
        **more,
    }


def test_each_layer_wins_over_those_below(places: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "home/project/code/deep"
    assert load_settings(environ(tmp_path), folder).origins == {"runs_root": "built-in"}
    for name, path in places.items():
        path.write_text(f"kind: config\nscratch: /{name}\n")
        found = load_settings(environ(tmp_path), folder)
        assert (found.values["scratch"], found.origins["scratch"]) == (f"/{name}", f"{path}:2")
    found = load_settings(environ(tmp_path, HPCAI_SCRATCH="/variable"), folder)
    assert (found.values["scratch"], found.origins["scratch"]) == ("/variable", "HPCAI_SCRATCH")


def test_a_null_says_nothing_and_an_empty_file_is_one(places: dict[str, Path], tmp_path: Path) -> None:
    places["site"].write_text("scratch: /site\n")
    places["user"].write_text("scratch: null\n")
    places["facts"].write_text("")
    assert load_settings(environ(tmp_path), tmp_path).values["scratch"] == "/site"


def test_a_path_is_relative_to_the_file_that_says_it(places: dict[str, Path], tmp_path: Path) -> None:
    places["project"].write_text("runs_root: our runs\nstorage_credentials: ~/key.json\n")
    values = load_settings(environ(tmp_path), tmp_path / "home/project/code").values
    assert values["runs_root"] == str(tmp_path / "home/project/our runs")
    assert values["storage_credentials"] == str(tmp_path / "home/key.json")


@pytest.mark.parametrize("end", ["home", "repository"])
def test_the_search_for_a_projects_file_ends(places: dict[str, Path], tmp_path: Path, end: str) -> None:
    folder = tmp_path / "home/project/code"
    (tmp_path / "hpcai.yaml").write_text("scratch: /not/ours\n")
    if end == "repository":
        places["project"].write_text("scratch: /above\n")
        (folder / ".git").mkdir()
    assert "scratch" not in load_settings(environ(tmp_path), folder).values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "1:1: got ['a']; a map of settings"),
        ("kind: job\n", "1:7: kind: got 'job'; 'config'"),
        ("scrach: /x\n", "1:1: scrach: is not a key here; did you mean 'scratch'?"),
        (
            "partition: a\n",
            "1:1: partition: is not a key here; it is one of a job: write 'partition' below job:",
        ),
        ("queue: a\n", "1:1: queue: is not a key here; it is one of a job: write 'partition' below job:"),
        ("command: a\n", "1:1: command: is not a key here; 'command' is each job's own"),
        ("runs_root: 3\n", "1:12: runs_root: got 3; a path"),
        ("scratch: ''\n", "1:10: scratch: got ''; text"),
        ("allow_http: here\n", "1:13: allow_http: got 'here'; a list of texts"),
        ("partitions: {gpu: 3}\n", "1:13: partitions: got {'gpu': 3}; a map of texts"),
        ("job: 3\n", "1:6: job: got 3; a map of a job's keys"),
        ("job: {name: x}\n", "1:7: job.name: is each job's own"),
        ("scratch: [\n", "2:1: is not YAML: the bracket that begins here is not closed"),
    ],
)
def test_mistakes_have_a_place(places: dict[str, Path], tmp_path: Path, text: str, told: str) -> None:
    places["user"].write_text(text)
    with pytest.raises(SpecFileError) as raised:
        load_settings(environ(tmp_path), tmp_path)
    assert str(raised.value) == f"{places['user']}:{told}"


def test_a_file_that_is_no_text_is_told(places: dict[str, Path], tmp_path: Path) -> None:
    places["user"].write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(environ(tmp_path), tmp_path)


def test_variables_for_jobs_are_kept_as_typed(tmp_path: Path) -> None:
    found = load_settings(environ(tmp_path, HPCAI_JOB_NODES="3", HPCAI_JOB_QOS="", HPCAI_JOB_="x"), tmp_path)
    assert found.job_variables == {"HPCAI_JOB_NODES": "3"}


def test_every_setting_says_what_it_is() -> None:
    assert all(one.what and not one.what.endswith(".") for one in SETTINGS.values())


@pytest.mark.parametrize(
    ("written", "read"), [("0.20", "0.20"), ("4.0", "4.0"), ("0.24.1", "0.24.1"), ("'0.21'", "0.21")]
)
def test_a_version_is_what_is_written_also_where_yaml_reads_a_number(
    places: dict[str, Path], tmp_path: Path, written: str, read: str
) -> None:
    places["user"].write_text(f"pyxis_version: {written}\nenroot_version: null\n")
    found = load_settings(environ(tmp_path), tmp_path).values
    assert found["pyxis_version"] == read and "enroot_version" not in found


@pytest.mark.parametrize("written", ["newest", "3", "yes", "true", "[0.21]", "0.21 beta"])
def test_what_is_no_version_is_refused_where_it_stands(
    places: dict[str, Path], tmp_path: Path, written: str
) -> None:
    places["user"].write_text(f"kind: config\npyxis_version: {written}\n")
    with pytest.raises(
        SpecFileError, match=r"config.yaml:2:16: pyxis_version: got .*; a version such as 0.21"
    ):
        load_settings(environ(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("region: West Europe", "a region as Azure writes it"),
        ("shared_folders: [data, /b]", "a list of absolute paths"),
        ("shared_folders: /data", "a list of absolute paths"),
    ],
)
def test_what_nobody_could_heed_is_refused_where_it_stands(
    places: dict[str, Path], tmp_path: Path, line: str, words: str
) -> None:
    places["user"].write_text(f"kind: config\n{line}\n")
    with pytest.raises(SpecFileError, match=f"config.yaml:2:.*; {words}"):
        load_settings(environ(tmp_path), tmp_path)


def test_a_variable_that_is_no_version_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HPCAI_PYXIS_VERSION is 'abc'"):
        load_settings(environ(tmp_path, HPCAI_PYXIS_VERSION="abc"), tmp_path)
