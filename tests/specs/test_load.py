from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcai.errors import NotFoundError, SpecError, UsageError
from hpcai.specs.cluster import ClusterSpec
from hpcai.specs.job import JobSpec, as_json
from hpcai.specs.load import load, load_as, load_text
from hpcai.specs.mistakes import SpecFileError
from tests.closed import as_ordinary_user

CASES = Path(__file__).parent.parent / "cases" / "specs"


def overrides_of(case: Path) -> list[str]:
    beside = case.with_suffix(".set")
    return beside.read_text(encoding="utf-8").splitlines() if beside.is_file() else []


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_a_file_becomes_its_spec_or_names_all_its_mistakes(
    case: Path, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CASES)
    try:
        spec = load(case.name, overrides_of(case))
    except SpecError as error:
        golden(case.with_suffix(".txt"), str(error) + "\n")
    else:
        golden(
            case.with_suffix(".json"),
            json.dumps(spec.model_dump(mode="json", exclude_defaults=True), indent=2) + "\n",
        )


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
@pytest.mark.parametrize("model", [JobSpec, ClusterSpec])
def test_a_command_that_takes_one_kind_says_the_same_of_it(
    case: Path, model: type[JobSpec | ClusterSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CASES)
    expected = case.with_suffix(".txt")
    try:
        spec = load_as(model, case.name, overrides_of(case))
    except SpecError as error:
        assert str(error) + "\n" == expected.read_text(encoding="utf-8")
    except UsageError as error:
        assert "which this command does not take" in str(error)
    else:
        assert isinstance(spec, model)
        assert not expected.exists()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
@example("\N{GRINNING FACE}\x7f\x85")
def test_a_spec_is_read_from_json_as_it_was_written(text: str) -> None:
    spec = JobSpec(name="a", command="b", env={"TEXT": text})
    assert load_text(json.dumps(as_json(spec)), "spec.json") == spec


def test_every_case_is_either_right_or_wrong() -> None:
    for case in CASES.glob("*.yaml"):
        assert case.with_suffix(".txt").is_file() != case.with_suffix(".json").is_file(), case.name


def test_a_file_that_is_missing_is_not_found_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("kind: job\n", encoding="utf-8")
    with pytest.raises(NotFoundError, match=r"Did you mean '.*train\.yaml'"):
        load(tmp_path / "trian.yaml")
    with pytest.raises(NotFoundError, match="There is no file"):
        load(tmp_path / "no" / "folder.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder\.\nName a YAML file in it"):
        load(tmp_path)


@pytest.mark.parametrize(("content", "place"), [(b"kind: job\nname: \xff\n", "2:7"), (b"\xfe\xff\0k", "1:1")])
def test_a_file_that_is_not_utf8_is_refused_with_the_place(
    tmp_path: Path, content: bytes, place: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    with pytest.raises(
        SpecFileError, match=rf"job\.yaml:{place}: got the byte 0x.., which is not UTF-8"
    ) as raised:
        load(path)
    assert raised.value.exit_status == 3


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xef\xbb\xbfkind: job\nname: a\ncommand: b\n")
    assert load_as(JobSpec, path).name == "a"


@pytest.mark.parametrize("override", ["nodes", "=3", "data.0.name=x", "name.first=x", "data.x=1"])
def test_an_override_that_is_none_is_wrong_usage(override: str) -> None:
    text = "kind: job\nname: a\ncommand: b\ndata: []\n"
    with pytest.raises(UsageError, match="--set"):
        load_text(text, "job.yaml", [override])


def test_relative_paths_are_relative_to_the_file(weird_folder: Path) -> None:
    (weird_folder / "code").mkdir()
    path = weird_folder / "job.yaml"
    path.write_text("kind: job\nname: a\ncommand: b\nworkdir: code\n", encoding="utf-8")
    assert load_as(JobSpec, path).workdir == weird_folder / "code"


def test_paths_need_not_be_here_when_nobody_asks() -> None:
    text = "kind: job\nname: a\ncommand: b\nworkdir: /no/such\n"
    assert load_text(text, "x", check_paths=False).model_dump()["workdir"] == Path("/no/such")


def test_a_mistake_knows_its_place_for_programs() -> None:
    with pytest.raises(SpecFileError) as raised:
        load_text("kind: job\nname: a\ncommand: b\nnodse: 3\n", "job.yaml")
    (mistake,) = raised.value.mistakes
    assert (mistake.origin, mistake.line, mistake.column, mistake.key) == ("job.yaml", 4, 1, "nodse")


def test_another_kind_than_the_command_takes_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("kind: job\nname: a\ncommand: b\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is of kind 'job', which this command does not take"):
        load_as(ClusterSpec, path)


def test_a_job_comes_from_a_pipe_that_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(pipe.write_text, "kind: job\nname: a\ncommand: b\n")
        assert load_as(JobSpec, pipe, ["name=c"]).name == "c"
        written.result()


@pytest.mark.programs
def test_the_file_dash_is_stdin(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    program = "from hpcai.specs.load import load; print(load('-').workdir)"
    argv = [sys.executable, "-c", program]

    def read(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=tmp_path, input=text, capture_output=True, text=True, check=False)

    assert read("kind: job\nname: a\ncommand: b\nworkdir: code\n").stdout == f"{tmp_path}/code\n"
    assert "-:2:7: name: got 'a b'" in read("kind: job\nname: a b\ncommand: b\n").stderr


def test_deep_and_large_files_are_refused_not_followed() -> None:
    for text in ("a: " + "[" * 100 + "]" * 100, "x: &a [1]\ny: &b [*a, *a]\n" + "z: [" + "*b, " * 9000 + "]"):
        with pytest.raises(SpecFileError, match="holds more than"):
            load_text("kind: job\nname: a\ncommand: b\n" + text, "job.yaml")


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_ends_in_a_spec_or_in_mistakes(text: str) -> None:
    try:
        load_text(text, "soup.yaml")
    except SpecFileError as error:
        assert error.mistakes


@given(
    st.dictionaries(
        st.sampled_from(["name", "nodes", "env", "data", "command", "workdir"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
def test_any_values_end_in_a_spec_or_in_mistakes(values: dict[str, object]) -> None:
    try:
        load_text(json.dumps({"kind": "job", **values}), "soup.yaml")
    except SpecFileError as error:
        assert error.mistakes


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("command=", "command: is empty, and must be given"),
        ("nodes=", "nodes: got None; a whole number, or leave the key out"),
        ("nodes=100000000", "nodes: got 100000000; it must be at most 1,000,000"),
        ("mem_gib=-1", "mem_gib: got -1; it must be at least 0"),
    ],
)
def test_bounds_and_emptiness_in_a_persons_words(override: str, told: str) -> None:
    with pytest.raises(SpecFileError) as raised:
        load_text('kind: job\nname: x\ncommand: "true"\n', "a.yaml", [override])
    assert str(raised.value) == f"--set: {told}"


@pytest.mark.parametrize("override", ["env.AZURE_STORAGE_KEY=c2VjcmV0", "name.x=c2VjcmV0"])
def test_a_secret_on_the_command_line_is_not_told_again(override: str) -> None:
    with pytest.raises((SpecFileError, UsageError)) as raised:
        load_text('kind: job\nname: x\ncommand: "true"\n', "a.yaml", [override])
    assert "c2VjcmV0" not in str(raised.value)


def test_a_folder_that_is_closed_to_this_user_is_told_at_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    (folder / "inside").mkdir(parents=True)
    folder.chmod(0)
    text = "kind: job\nname: x\ncommand: hostname\nworkdir: "
    try:
        with as_ordinary_user():
            with pytest.raises(SpecFileError, match=r"^x:4:10: workdir: .*closed', which you may not enter$"):
                load_text(f"{text}{folder}\n", "x")
            with pytest.raises(SpecFileError, match=r"^x:4:10: workdir: .*, which you may not look at$"):
                load_text(f"{text}{folder}/inside\n", "x")
    finally:
        folder.chmod(0o755)
