from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.starter import scalar, starter
from hpcai.specs.yaml_text import parse

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)


@given(
    st.one_of(
        TEXT, st.sampled_from(["yes", "1e3", ".5", "~", "a: b", "a #b", " a", "a ", "- a", "'a'", "0x1"])
    )
)
def test_a_text_is_read_back_as_itself(text: str) -> None:
    assert parse(f"key: {scalar(text)}\n", "x").data == {"key": text}


def loaded(given: dict[str, Any], settled: dict[str, Any] | None = None) -> JobSpec:
    spec = load_text(starter(given, settled or {}), "x.yaml")
    assert isinstance(spec, JobSpec)
    return spec


@given(TEXT.filter(str.strip))
def test_a_command_of_any_kind_is_the_jobs(command: str) -> None:
    assert loaded({"name": "a", "command": command}).command == command


def test_everything_that_was_asked_for_is_there() -> None:
    asked: dict[str, Any] = {"name": "a", "command": "python train.py\necho done", "nodes": 2, "time_min": 60}
    asked |= {
        "ntasks_per_node": 8,
        "gpus_per_node": 0,
        "launcher": "torchrun",
        "profile": "Standard_ND96isr_H100_v5",
    }
    spec = loaded({**asked, "container": "nvcr.io#a/b:1", "data": "azure://sets/x", "account": None})
    assert {key: getattr(spec, key) for key in asked} == asked
    assert spec.container is not None and spec.container.image == "nvcr.io#a/b:1"
    assert [data.source for data in spec.data] == ["azure://sets/x"]


def test_what_is_settled_is_left_out_and_the_rest_is_hinted_at() -> None:
    plain = starter({"name": "a", "command": "b", "partition": None}, {})
    assert "# partition: " in plain and len(plain.splitlines()) == 8
    settled = {"partition": "gpu", "account": "vision", "time_min": 5}
    text = starter({"name": "a", "command": "b", "partition": "gpu", "account": "other"}, settled)
    assert "partition" not in text and "time_min" not in text and "\naccount: other\n" in text
