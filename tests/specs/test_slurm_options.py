"""The table of sbatch's options: whole, in step with JobSpec, true of every Slurm that can be had here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import prefix
from hpcai.specs.job import JobSpec
from hpcai.specs.site import cache_dir
from hpcai.specs.slurm_options import SlurmOption, available, slurm_options, slurm_version
from tests.real_cluster import RealCluster

# Fields of JobSpec that are no option of sbatch.
OURS = {
    *("kind", "experiment", "command", "launcher", "horovod_controller", "profile", "workdir", "setup"),
    *("env", "secrets", "container", "data", "code", "retry", "schedule"),
    *("components", "parameter_servers", "teardown", "outputs", "samples", "scheduled_events"),
}
UNITS = {
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu", "tmp"), "_gib"),
    **dict.fromkeys(("time", "time-min", "delay-boot"), "_min"),
}
NAMES = {"job-name": "name", "no-requeue": "requeue"}
# The argument of these was not always what the newest Slurm makes of it.
CHANGED = {"requeue", "get-user-env"}
ROWS = slurm_options().values()


def test_the_table_and_the_fields_of_a_job_are_in_step() -> None:
    named = {row.field for row in ROWS if row.field}
    fields = set(JobSpec.model_fields)
    assert named <= fields
    assert fields - named == OURS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.option)
def test_a_row_is_whole(row: SlurmOption) -> None:
    assert (row.field is None) != (row.why_not is None)
    assert (row.argument == "none") == (row.value == "")
    assert (row.value == "choice") == bool(row.choices)
    if row.field is not None:
        rule = row.option.replace("-", "_") + UNITS.get(row.option, "")
        assert row.field == NAMES.get(row.option, rule)
    else:
        assert row.component == ""


def test_the_rows_stand_in_the_order_of_the_alphabet_once_each() -> None:
    file = Path(__file__).parents[2] / "hpcai" / "specs" / "slurm_options.csv"
    names = [line.split(",")[0] for line in file.read_text().splitlines()[1:]]
    assert names == sorted(set(names)) == list(slurm_options())


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        slurm_options()["mem"] = slurm_options()["tmp"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        slurm_options()["mem"].field = "memory"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "has", "has_not"),
    [
        ("segment", [(24, 5), (26, 5)], [(22, 5), (23, 11)]),
        ("power", [(20, 11), (23, 11)], [(24, 5), (26, 5)]),
        ("mem", [(20, 11), (26, 5)], []),
    ],
)
def test_what_is_available(option: str, has: list[tuple[int, int]], has_not: list[tuple[int, int]]) -> None:
    assert [available(option, version) for version in has + has_not] == [True] * len(has) + [False] * len(
        has_not
    )


def test_an_option_of_no_slurm_is_an_error() -> None:
    with pytest.raises(KeyError, match="walltime"):
        available("walltime", (24, 11))


def test_slurm_version() -> None:
    assert slurm_version("slurm-wlm 22.05.8") == (22, 5)
    assert slurm_version("slurm 25.11.0-0rc1") == (25, 11)
    with pytest.raises(ValueError, match="no version"):
        slurm_version("slurm")


def probe(row: SlurmOption, environ: Mapping[str, str]) -> str:
    """What sbatch makes of an option by its name alone; nothing is submitted, for the script is empty."""
    words = ["sbatch", "--test-only", f"--{row.option}"]
    if row.argument == "none":
        words[2] += "=1"
    done = subprocess.run(
        words,
        env={**environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    for sign, answer in (
        ("unrecognized option", "unknown"),
        ("requires an argument", "required"),
        ("doesn't allow an argument", "none"),
    ):
        if sign in done.stderr:
            return answer
    return "optional"


def wrong_rows(environ: Mapping[str, str]) -> Iterator[str]:
    """Where the table and sbatch differ."""
    version = SlurmClient(environ).version()
    there = [row.option for row in ROWS if available(row.option, version)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda row: probe(row, environ), ROWS))
    for row, answer in zip(ROWS, answers, strict=True):
        if not available(row.option, version):
            # sbatch takes the begin of a name for the whole one, where it is that of one only.
            is_begin = any(option.startswith(row.option) for option in there)
            if answer != "unknown" and not is_begin:
                yield f"--{row.option} is there, and the table says that Slurm {version} does not have it"
        elif answer != row.argument and not (row.option in CHANGED and answer in ("none", "optional")):
            yield f"--{row.option} in Slurm {version}: {answer}, not {row.argument}"


@pytest.mark.real
def test_the_table_is_true_of_this_machines_slurm(cluster: RealCluster) -> None:
    assert list(wrong_rows(cluster.environ)) == []


@pytest.mark.long
@pytest.mark.parametrize("release", prefix.SUITES)
def test_the_table_is_true_of_every_slurm(release: str, tmp_path: Path) -> None:
    programs = prefix.ensure(cache_dir(), release)
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"ClusterName=none\nSlurmctldHost=localhost\nPluginDir={programs.plugins}\n")
    environ = {**os.environ, "PATH": f"{programs.bin}:{os.environ['PATH']}", "SLURM_CONF": str(conf)}
    assert list(wrong_rows(environ)) == []
