"""A file that Slurm submits anew each time its schedule says so: one marked block in the user's scrontab."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpcai.errors import NotFoundError, StageError, UsageError
from hpcai.render.environment import quote
from hpcai.slurm import scrontab
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.settings import JOB_VARIABLE, SETTINGS
from hpcai.specs.site import Site

# How long a submission may take, in minutes.
_TIME_MIN = 10
# What a login sets up may lack these; a schedule has no other environment.
_KEPT = (
    *("PATH", "PYTHONPATH", "SLURM_CONF", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
    *("HPCAI_LOCAL", "HPCAI_SITE_CONFIG", "HPCAI_CONFIG_HOME"),
)


def put(
    file: Path,
    name: str,
    experiment: str,
    schedule: str,
    job: JobSpec,
    *,
    overrides: Sequence[str],
    site: Site,
    client: SlurmClient,
) -> bool:
    """Whether a block of this file was replaced; `job` is the first that it submits.

    Raises SlurmError where there is no scrontab, StageError where its log cannot be written.
    """
    log = site.runs_root / experiment / "schedules" / f"{name}.out"
    lines = list(block(file, name, schedule, job, log, overrides, os.environ, Path.cwd()))
    before = scrontab.read(client)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(f"{str(log.parent)!r} cannot be written: {error.strerror}.") from error
    scrontab.write(client, scrontab.with_block(before, str(file), lines))
    return str(file) in scrontab.blocks(before)


def block(
    file: Path,
    name: str,
    schedule: str,
    job: JobSpec,
    log: Path,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
) -> Iterator[str]:
    """The lines of a file's block: the options of the small job that submits it, and its entry."""
    options = {
        "job-name": f"{name}-schedule",
        "account": job.account,
        "partition": job.partition,
        "qos": job.qos,
        "time": str(_TIME_MIN),
        "output": "/dev/null",
    }
    for option, value in options.items():
        if value is not None:
            yield f"#SCRON --{option}={_word(option, value)}"
    # Each time a run of its own, and not the schedule once more.
    words = [sys.executable, "-m", "hpcai", "submit", str(file), "--quiet", "--set", "schedule=null"]
    words += [word for override in overrides for word in ("--set", override)]
    variables = [f"{key}={value}" for key, value in sorted(_kept(environ).items())]
    # No #SCRON line can name a log with a space in its path: they know no quotes.
    command = f"exec >>{quote(log)} 2>&1; cd -- {quote(folder)} && exec env "
    command += " ".join(map(quote, [*variables, *words]))
    if any(ord(character) < 32 for character in command):
        raise UsageError(
            "A schedule is one line, and its folder, its --set or a variable of hpcai holds a line's end."
        )
    yield f"{schedule} {command}"


def _word(option: str, value: str) -> str:
    if re.search(r"[\s\"'\\#]", value):
        raise UsageError(f"{option} is {value!r}, which no line of scrontab can hold: it knows no quotes.")
    return value


def _kept(environ: Mapping[str, str]) -> dict[str, str]:
    names = {*_KEPT, *(one.variable for one in SETTINGS.values() if one.variable)}
    return {
        name: value
        for name, value in environ.items()
        if value and (name in names or name.startswith(JOB_VARIABLE))
    }


def remove(file: Path, client: SlurmClient) -> None:
    """Takes a file's block away. Raises NotFoundError where there is none."""
    text = scrontab.read(client)
    known = scrontab.blocks(text)
    if str(file) not in known:
        raise NotFoundError(
            f"There is no schedule of {str(file)!r}.",
            allowed=f"There are schedules of: {', '.join(map(repr, known))}." if known else None,
        )
    scrontab.write(client, scrontab.without_block(text, str(file)))
