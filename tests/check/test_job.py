"""What a check finds in a job without asking Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.check.job import Surroundings, check_job
from hpcai.check.slurm_itself import slurm_as_a_whole
from hpcai.check.told import Told, ask
from hpcai.errors import HpcaiError
from hpcai.render.resolved import ResolvedJob
from hpcai.shell import Completed
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import failure
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


def test_without_slurm_it_is_said_where_to_go() -> None:
    [found] = slurm_as_a_whole(Told(), is_there=False)
    assert (found.id, str(found.fix).startswith("Go to")) == ("no-slurm", True)


def test_what_every_command_says_is_told_once_with_its_own_next_step() -> None:
    lines = ("error: Parsing error at unrecognized key: A", "fatal: Unable to process configuration file")

    def error(program: str) -> HpcaiError:
        return failure(Completed((program,), 1, "", "\n".join(f"{program}: {line}" for line in lines)))

    programs = {"partitions": "scontrol", "version": "sinfo", "mpi_plugins": "srun"}
    told = Told(errors={name: error(program) for name, program in programs.items()})
    [found] = slurm_as_a_whole(told, is_there=True)
    assert (found.severity, "correct that line" in str(found.fix)) == ("error", True)


def test_where_slurm_conf_leads_nowhere_no_command_is_waited_for(tmp_path: Path) -> None:
    told = ask(SlurmClient({"SLURM_CONF": f"{tmp_path}/none"}))
    [found] = slurm_as_a_whole(told, is_there=True)
    assert (found.id, found.severity) == ("slurm-refuses", "error")
    assert "no file is there" in found.what and "Set SLURM_CONF" in str(found.fix)
