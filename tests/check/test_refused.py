"""Slurm's own words, as its releases said them, and the key of a job that they mean."""

from __future__ import annotations

import pytest

from hpcai.check.marked import with_places
from hpcai.check.refused import refused_by_slurm
from hpcai.errors import SlurmError
from hpcai.shell import Completed
from hpcai.slurm.failures import failure
from hpcai.specs.job import JobSpec
from hpcai.specs.load import open_text

HEAD = "kind: job\nname: x\ncommand: hostname\n"
# What 22.05 says, and of the last two 26.05.
SAID = [
    (
        "begin: never",
        "Invalid --begin specification; Invalid time specification (pos=0): never",
        "16:00",
    ),
    ("mail_type: foo", "Invalid --mail-type specification", "TIME_LIMIT"),
    ("deadline: never", "Invalid --deadline specification", "16:00"),
    ("gres_flags: foo", "Invalid --gres-flags specification", "man sbatch  # tells what --gres-flags"),
    ("propagate: foo", "--propagate=foo is not valid.; Bad rlimit name: foo", "MEMLOCK"),
    ("signal: URG", "Invalid --signal specification", "kill -l"),
    ("distribution: foo", "Invalid --distribution specification", "cyclic"),
    ("mem_bind: foo", 'unrecognized --mem-bind argument "foo"', "man sbatch"),
    (
        "cpu_freq: foo",
        'Invalid --cpu-freq argument; unrecognized --cpu-freq argument "foo"',
        "man sbatch",
    ),
    ("gpu_bind: foo", "Invalid --gpu-bind argument: gpu:foo", "man sbatch"),
    ("switches: foo", 'Invalid numeric value "foo" for --switches', "man sbatch"),
    ("gres: foo:1", "Invalid generic resource (gres) specification", "sinfo"),
    ("acctg_freq: foo", "Invalid --acctg-freq specification: foo", "man sbatch"),
    ("acctg_freq: '30'", "allocation failure: Invalid accounting frequency requested", "man sbatch"),
    ("dependency: foo", "allocation failure: Job dependency problem", "afterok"),
    ("constraint: foo", "allocation failure: Invalid feature specification", "features"),
    ("prefer: foo", "allocation failure: Invalid preferred feature specification", "features"),
    ("nodelist: zz1", "allocation failure: Invalid node name specified", "sinfo -N"),
    ("licenses: foo", "allocation failure: Invalid license specification", "scontrol show licenses"),
    ("reservation: foo", "allocation failure: Requested reservation is invalid", "man sbatch"),
    ("batch: foo", "Job --batch option is invalid or not a subset of --constraints", "man sbatch"),
    ("tres_bind: foo", "allocation failure: Invalid Trackable RESource (TRES) specification", "man sbatch"),
    ("resources: foo", "allocation failure: Invalid license specification", "man sbatch"),
]


@pytest.mark.parametrize(("line", "words", "fix"), SAID, ids=[one[0] for one in SAID])
def test_what_slurm_refuses_has_its_place_and_a_next_step(line: str, words: str, fix: str) -> None:
    opened = open_text(f"{HEAD}{line}\n", "job.yaml")
    assert isinstance(opened.spec, JobSpec)
    error = SlurmError(f"sbatch refused: {words}.")
    [found] = with_places(refused_by_slurm(error, opened.spec), opened.document)
    assert (found.id, found.severity, found.what) == ("refused", "error", error.what)
    assert found.place == f"job.yaml:4:{line.index(':') + 3}"
    assert fix in str(found.fix)


def test_a_frequency_of_accounting_is_no_account() -> None:
    said = "sbatch: error: allocation failure: Invalid accounting frequency requested"
    error = failure(Completed(("sbatch",), 1, "", said))
    assert "JobAcctGather" in str(error.next_step)


def test_a_part_of_a_heterogeneous_job_is_named() -> None:
    text = f"{HEAD}components:\n- nodes: 1\n- switches: foo\n"
    opened = open_text(text, "job.yaml")
    assert isinstance(opened.spec, JobSpec)
    error = SlurmError('sbatch refused: Invalid numeric value "foo" for --switches.')
    [found] = with_places(refused_by_slurm(error, opened.spec), opened.document)
    assert (found.where, found.place) == ("components[1].switches", "job.yaml:6:13")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("nodelist: a\nexclude: b", "Invalid node name specified"),
        ("begin: never", "Requested node configuration is not available"),
        ("begin: never", "Invalid --output specification"),
    ],
)
def test_what_may_be_any_of_two_or_none_has_no_place(lines: str, words: str) -> None:
    opened = open_text(f"{HEAD}{lines}\n", "job.yaml")
    assert isinstance(opened.spec, JobSpec)
    [found] = refused_by_slurm(SlurmError(f"sbatch refused: {words}."), opened.spec)
    assert found.where == "sbatch --test-only"
