from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcai.specs.job import JobSpec
from hpcai.specs.load import laid_document, load_text, origins
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.settings import Settings
from hpcai.specs.yaml_text import parse

JOB = 'kind: job\nname: a\ncommand: "true"\n'


def layered(job: str, *files: str, overrides: tuple[str, ...] = (), **variables: str) -> dict[str, Any]:
    """The job's fields, below it the files, of which the first wins."""
    documents = tuple(parse(text, f"/config{number}/hpcai.yaml") for number, text in enumerate(files))
    settings = Settings({}, {}, documents, variables)
    spec = load_text(JOB + job, "job.yaml", overrides, settings=settings, check_paths=False)
    assert isinstance(spec, JobSpec)
    return spec.model_dump()


def test_a_default_fills_in_only_what_the_job_leaves_out() -> None:
    found = layered("partition: own\n", "job: {partition: high, qos: high}", "job: {qos: low, account: low}")
    assert (found["partition"], found["qos"], found["account"]) == ("own", "high", "low")


def test_a_null_in_the_job_is_its_own_word() -> None:
    assert layered("partition: null\n", "job: {partition: gpu}")["partition"] is None


def test_the_environment_is_merged_by_variable_in_a_stable_order() -> None:
    found = layered("env: {C: own}\n", "job: {env: {B: high, A: high}}", "job: {env: {Z: low, A: low}}")
    assert list(found["env"].items()) == [("C", "own"), ("B", "high"), ("A", "high"), ("Z", "low")]


def test_numbers_of_a_default_environment_stay_as_written() -> None:
    assert layered("", "job: {env: {LR: 0.10}}")["env"] == {"LR": "0.10"}


def test_a_default_container_without_an_image_is_for_jobs_that_have_one() -> None:
    assert layered("", "job: {container: {mount_home: true}}")["container"] is None
    found = layered("container: {image: x.sqsh}\n", "job: {container: {mount_home: true, image: y}}")
    assert found["container"]["image"] == "x.sqsh" and found["container"]["mount_home"]
    assert layered("", "job: {container: {image: y}}")["container"]["image"] == "y"


@pytest.mark.parametrize(
    "files", [("job: {container: {mount_home: true}}",), ("{}", "job: {container: {mount_home: true}}")]
)
def test_a_default_container_is_for_an_image_that_is_laid_over_too(files: tuple[str, ...]) -> None:
    found = layered("", *files, overrides=("container.image=x.sqsh",))["container"]
    assert (found["image"], found["mount_home"]) == ("x.sqsh", True)
    found = layered("", *files, HPCAI_JOB_CONTAINER="{image: x.sqsh}")["container"]
    assert (found["image"], found["mount_home"]) == ("x.sqsh", False)  # the whole map is said


def test_a_default_container_is_for_the_image_of_a_file_below() -> None:
    found = layered("", "job: {container: {mount_home: true}}", "job: {container: {image: y}}")["container"]
    assert (found["image"], found["mount_home"]) == ("y", True)


def test_a_container_that_the_job_says_itself_needs_its_image() -> None:
    for given, set_ in (("container: {}\n", ()), ("", ("container.writable=true",))):
        with pytest.raises(SpecFileError, match="image: is missing"):
            layered(given, "job: {container: {mount_home: true}}", overrides=set_)


def test_what_is_laid_over_one_job_is_not_the_next_one_s() -> None:
    settings = Settings({}, {}, (parse("job: {env: {A: site}, setup: [x]}", "/config/hpcai.yaml"),))
    sets = ("env.A=own", "env.B=own", "setup.0=own")
    load_text(JOB, "job.yaml", sets, settings=settings)
    second = load_text(JOB, "job.yaml", settings=settings)
    assert isinstance(second, JobSpec)
    assert (second.env, second.setup) == ({"A": "site"}, ("x",))


def test_a_default_folder_is_relative_to_the_file_that_says_it() -> None:
    assert layered("", "job: {workdir: src}")["workdir"] == Path("/config0/src")


def test_variables_win_over_the_file_and_set_over_them() -> None:
    assert layered("nodes: 2\n", HPCAI_JOB_NODES="3")["nodes"] == 3
    assert layered("nodes: 2\n", overrides=("nodes=4",), HPCAI_JOB_NODES="3")["nodes"] == 4


@pytest.mark.parametrize(
    ("files", "variables", "told"),
    [
        (("job:\n  nodes: two\n",), {}, "/config0/hpcai.yaml:2:10: nodes: got 'two'; a whole number"),
        (
            ("job:\n  ptition: x\n",),
            {},
            "/config0/hpcai.yaml:2:3: ptition: is not a key here; did you mean 'partition'?",
        ),
        ((), {"HPCAI_JOB_NODES": "two"}, "HPCAI_JOB_NODES: nodes: got 'two'; a whole number"),
    ],
)
def test_a_mistake_is_told_where_it_stands(
    files: tuple[str, ...], variables: dict[str, str], told: str
) -> None:
    with pytest.raises(SpecFileError) as raised:
        layered("", *files, **variables)
    assert str(raised.value) == told


def test_origins_name_file_and_line_variable_and_set(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB + "env: {A: 1}\n")
    layer = parse("job:\n  partition: gpu\n  env: {B: 2}\n", "/etc/hpcai/config.yaml")
    settings = Settings({}, {}, (layer,), {"HPCAI_JOB_NODES": "2"})
    found = origins(laid_document(path.read_text(), str(path), ["env.C=3"], settings))
    assert found == {
        "kind": f"{path}:1",
        "name": f"{path}:2",
        "command": f"{path}:3",
        "env": f"{path}:4",
        "env.A": f"{path}:4",
        "env.B": "/etc/hpcai/config.yaml:3",
        "env.C": "--set",
        "partition": "/etc/hpcai/config.yaml:2",
        "nodes": "HPCAI_JOB_NODES",
    }


def test_other_kinds_have_no_layers() -> None:
    layer = parse("job: {partition: gpu}", "c.yaml")
    with pytest.raises(SpecFileError) as raised:
        load_text("kind: cluster\n", "cluster.yaml", settings=Settings({}, {}, (layer,), {}))
    assert "partition" not in str(raised.value)
