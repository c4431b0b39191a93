from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.specs.load_steps import load_steps
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.settings import Settings
from hpcai.specs.steps import Steps
from hpcai.specs.yaml_text import parse

HEAD = "kind: steps\nname: s\nsteps:\n"
A = "  - {name: a, job: {command: 'true'}}\n"
B = "  - {name: b, job: {command: 'true'}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "train.yaml").write_text("kind: job\nname: t\ncommand: python t.py\nworkdir: code\n")
    return tmp_path


def load(folder: Path, text: str, *overrides: str, settings: Settings | None = None) -> Steps:
    return load_steps(HEAD + text, str(folder / "steps.yaml"), overrides, settings)


def test_a_step_comes_after_the_one_above_unless_it_says_otherwise(folder: Path) -> None:
    text = A + B + "  - {name: c, after: [a, b], when: failed, job: {command: 'true'}}\n"
    text += "  - {name: d, after: [], job: {command: 'true'}}\n"
    found = load(folder, text).steps
    assert [(step.name, step.after, step.when) for step in found] == [
        ("a", (), "completed"),
        ("b", ("a",), "completed"),
        ("c", ("a", "b"), "failed"),
        ("d", (), "completed"),
    ]


def test_jobs_are_named_like_the_steps_and_are_of_their_experiment(folder: Path) -> None:
    found = load_steps(
        "kind: steps\nname: s\nexperiment: nights\nsteps:\n  - {name: a, file: train.yaml, set: [nodes=2]}\n",
        str(folder / "steps.yaml"),
    )
    job = found.steps[0].job
    assert (job.name, job.experiment, job.nodes, job.workdir) == ("s-a", "nights", 2, folder / "code")


def test_settings_hold_for_each_job(folder: Path) -> None:
    layer = parse("job: {partition: gpu}", "config.yaml")
    found = load(
        folder,
        A + "  - {name: b, file: train.yaml}\n",
        settings=Settings({}, {}, (layer,), {"HPCAI_JOB_QOS": "q"}),
    )
    assert [(step.job.partition, step.job.qos) for step in found.steps] == [("gpu", "q")] * 2


def test_set_reaches_into_a_step(folder: Path) -> None:
    assert load(folder, A, "steps.0.job.nodes=3").steps[0].job.nodes == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  []\n", "3:1: steps: holds no step"),
        ("  - {name: a}\n", "4:5: steps[0]: needs either file or job"),
        ("  - {name: a, file: t, job: {}}\n", "4:5: steps[0]: needs either file or job"),
        (A + A, "5:6: steps[1].name: 'a' is the name of a step above"),
        (
            "  - {name: p-1, job: {command: x}}\n  - {name: p.1, job: {command: x}}\n",
            "5:6: steps[1].name: 'p-1' and 'p.1' both become HPCAI_STEP_P_1",
        ),
        (
            A + "  - {name: b, after: [c], job: {command: x}}\n",
            "5:23: steps[1].after[0]: got 'c'; a step can only start after one above it, "
            "and steps above are a",
        ),
        (
            "  - {name: a, after: [a], job: {command: x}}\n",
            "4:23: steps[0].after[0]: got 'a'; a step can only start after one above it, "
            "and there is no step above",
        ),
        (
            "  - {name: a, when: failed, job: {command: x}}\n",
            "4:15: steps[0].when: says nothing: no step comes before this one",
        ),
        (
            A + "  - {name: b, when: later, job: {command: x}}\n",
            "5:21: steps[1].when: got 'later'; 'completed' or 'failed' or 'ended'",
        ),
        (
            "  - {name: a, set: [x=1], job: {command: x}}\n",
            "4:15: steps[0].set: goes with file; a job here is changed in place",
        ),
        (
            "  - {name: a, job: {command: x, comment: y, comand: x}}\n",
            "4:45: comand: is not a key here; did you mean 'command'?",
        ),
        ("  - {name: a, job: {command: x, nodes: two}}\n", "4:40: nodes: got 'two'; a whole number"),
        (
            A + "  - {name: b, job: {command: x, dependency: 'afterok:3'}}\n",
            "5:5: steps[1]: has dependency 'afterok:3' in its job, which the order of steps sets",
        ),
        (
            A + "  - {name: b, job: {command: x, env: {HPCAI_STEP_A: /x}}}\n",
            "5:5: steps[1]: has env.HPCAI_STEP_A in its job, which says where a step above left its outputs",
        ),
    ],
)
def test_mistakes_have_their_place(folder: Path, text: str, told: str) -> None:
    with pytest.raises(SpecFileError) as raised:
        load(folder, text)
    first = str(raised.value).splitlines()[0]
    assert first == f"{folder}/steps.yaml:{told}"


def test_a_file_that_is_not_there_has_its_place_and_hides_no_other_mistake(folder: Path) -> None:
    with pytest.raises(SpecFileError) as raised:
        load(folder, "  - {name: a, file: tain.yaml}\n  - {name: b, job: {command: x, nodes: 0}}\n")
    assert len(raised.value.mistakes) == 2
    assert f"4:21: steps[0].file: got 'tain.yaml': There is no file '{folder}/tain.yaml'" in str(raised.value)


def test_all_mistakes_come_at_once_of_the_steps_their_order_and_their_jobs(folder: Path) -> None:
    (folder / "other.yaml").write_text("kind: job\nname: t\ncommand: a\nnods: 2\nschedule: '@daily'\n")
    text = A + "  - {name: b, when: later, after: [c], job: {comand: x, dependency: 'afterok:3'}}\n"
    text += "  - {name: b, file: tain.yaml}\n"
    text += "  - {name: d, after: [z], file: other.yaml}\n"
    text += "  - {name: e, wen: failed, file: train.yaml, set: [nodes=two]}\n"
    with pytest.raises(SpecFileError) as raised:
        load(folder, text)
    told = [str(one).replace(f"{folder}/", "") for one in raised.value.mistakes]
    beginnings = [
        "other.yaml:4:1: nods: is not a key here",
        "steps.yaml:5:5: steps[1]: has dependency 'afterok:3'",
        "steps.yaml:5:21: steps[1].when: got 'later'",
        "steps.yaml:5:36: steps[1].after[0]: got 'c'",
        "steps.yaml:5:46: comand: is not a key here; did you mean 'command'?",
        "command: is missing",
        "steps.yaml:6:6: steps[2].name: 'b' is the name of a step above",
        "steps.yaml:6:21: steps[2].file: got 'tain.yaml'",
        "steps.yaml:7:5: steps[3]: has a schedule in its job",
        "steps.yaml:7:23: steps[3].after[0]: got 'z'",
        "steps.yaml:8:15: steps[4].wen: is not a key here",
        "--set: nodes: got 'two'",
    ]
    missing = [one for one in beginnings if not any(one in line for line in told)]
    assert (missing, len(told)) == ([], len(beginnings)), "\n".join(told)
