"""What a check finds in a job without asking Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.check.job import Surroundings, check_job
from hpcai.render.resolved import ResolvedJob
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("HF_TOKEN", True),
        ("WANDB_API_KEY", True),
        ("db_password", True),
        ("TOKEN", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("SORT_KEY", False),
        ("SECRET_SANTA", False),
    ],
)
def test_a_variable_that_looks_like_a_secret_is_a_warning(tmp_path: Path, name: str, is_told: bool) -> None:
    job = ResolvedJob(
        JobSpec(name="a", command="true", env={name: "hush"}), tmp_path, Path("/usr/bin/python3")
    )
    around = Surroundings(Site(tmp_path), {}, tmp_path / "prices.json")
    found = check_job(job, around, None).findings
    told = [finding for finding in found if finding.id == "secret-in-env"]
    assert [finding.severity for finding in told] == ["warning"] * is_told
    assert "hush" not in str(found)
