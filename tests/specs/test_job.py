from __future__ import annotations

import pytest
from pydantic import ValidationError

from hpcai.specs.job import DataSpec, JobSpec, as_json


def test_a_spec_cannot_be_changed() -> None:
    spec = JobSpec(name="a", command="true")
    with pytest.raises(ValidationError, match="frozen"):
        spec.nodes = 2  # type: ignore[misc]


def test_a_spec_made_in_python_is_checked_as_one_from_a_file() -> None:
    with pytest.raises(ValidationError, match="is set by the job script itself"):
        JobSpec(name="a", command="true", env={"SLURM_X": "1"})
    with pytest.raises(ValidationError, match="lower-case letters"):
        DataSpec(name="A", source="azure://data/a")


@pytest.mark.parametrize(
    ("name", "variable"), [("digits", "HPCAI_DATA_DIGITS"), ("my-set_2", "HPCAI_DATA_MY_SET_2")]
)
def test_a_data_set_is_found_through_its_variable(name: str, variable: str) -> None:
    assert DataSpec(name=name, source="azure://data/a").variable == variable


def test_a_spec_survives_its_json() -> None:
    spec = JobSpec(name="a", command="true", workdir="/tmp", data=[{"name": "a", "source": "azure://data/a"}])
    assert JobSpec.model_validate(as_json(spec)) == spec
