"""`hpcai init`: a job's file to begin with."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.output import emit_object, output_option, put, quiet_option

if TYPE_CHECKING:
    from hpcai.specs.settings import Settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("job.yaml"))
@click.option("--command", help="What every task runs; asked for on a terminal.")
@click.option("--name", help="The job's name.  [default: from the file's, or the command's]")
@click.option("--profile", metavar="VM_SIZE", help="The nodes' VM size: its tasks, cores, GPUs, settings.")
@click.option("--nodes", type=click.IntRange(min=1), help="How many nodes.")
@click.option("--ntasks-per-node", type=click.IntRange(min=1), help="Tasks (ranks) on each node.")
@click.option("--gpus-per-node", type=click.IntRange(min=0), help="GPUs of each node.")
@click.option("--time-min", type=click.IntRange(min=1), help="The time limit in minutes.")
@click.option("--launcher", help="How ranks start, such as torchrun.")
@click.option("--container", metavar="IMAGE", help="A Pyxis image, such as nvcr.io#nvidia/pytorch:25.09-py3.")
@click.option("--data", metavar="SOURCE", help="A data set, such as azure://datasets/trees.")
@click.option("--partition", help="Slurm's partition, where the settings name no other.")
@click.option("--account", help="Slurm's account, where the settings name no other.")
@output_option
@quiet_option("the file's name")
def init(file: Path, output: str, quiet: bool, **given: Any) -> None:
    """Write a job's file to begin with.

    FILE is job.yaml by default; one that is there is never changed. On a terminal, without --command,
    what matters most is asked. What your settings say for every job (partition, account) is left out.

    \b
    Exit status: 0, 2 wrong usage or FILE is there, 3 a value cannot be meant, 5 no such profile,
    7 the file cannot be written, 130 Ctrl-C.
    """
    from hpcai.specs.settings import load_settings

    _refuse_existing(file)
    settings = load_settings()
    settled = _settled(settings)
    if given["command"] is None:
        given = _asked(given, settled)
    given["name"] = given["name"] or _name(file, given["command"])
    _write(file, _text(file, given, settled, settings))
    if quiet:
        put(file)
    elif output == "table":
        put(f"{file} is written.")
        _suggest(file)
    else:
        emit_object({"file": str(file.absolute())}, output)


def _refuse_existing(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise click.UsageError(f"{str(file)!r} is there already, and is not changed: name another file.")


def _settled(settings: Settings) -> dict[str, Any]:
    """What holds for every job here: the config files', the one that wins last."""
    found: dict[str, Any] = {}
    for document in reversed(settings.documents):
        found.update(document.data.get("job") or {})
    return found


def _asked(given: dict[str, Any], settled: dict[str, Any]) -> dict[str, Any]:
    """The values with what a person on a terminal answers. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: --command says what the job runs.")
    given["command"] = click.prompt("What does every task run", err=True)
    if given["nodes"] is None and "nodes" not in settled:
        given["nodes"] = click.prompt("On how many nodes", type=click.IntRange(min=1), default=1, err=True)
    for key, question in (("profile", "VM size of the nodes"), ("container", "Container image")):
        if given[key] is None and key not in settled:
            given[key] = click.prompt(f"{question} (empty: none)", default="", show_default=False, err=True)
            given[key] = given[key].strip() or None
    return given


def _name(file: Path, command: str) -> str:
    """The file's name, else the first script of the command, in letters that a job's name may have."""
    stem = file.stem if file.name != "job.yaml" else ""
    scripts = [Path(word).stem for word in command.split() if re.search(r"\w\.(py|sh)$", word)]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem or next(iter(scripts), "")).strip("-._")
    return plain[:64] or "my-job"


def _text(file: Path, given: dict[str, Any], settled: dict[str, Any], settings: Settings) -> str:
    """The file's text, which loads. Raises SpecFileError with what of the options cannot be meant."""
    from hpcai.specs.load import load_text
    from hpcai.specs.starter import starter

    text = starter(given, settled)
    load_text(text, str(file), settings=settings, base=file.absolute().parent)
    return text


def _write(file: Path, text: str) -> None:
    from hpcai.errors import StageError

    try:
        # Exclusive: somebody else may have made it meanwhile.
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        _refuse_existing(file)
    except OSError as error:
        raise StageError(f"{str(file)!r} cannot be written: {error.strerror}.") from error


def _suggest(file: Path) -> None:
    from hpcai.cli.ending import suggest

    suggest(f"hpcai check {shlex.quote(str(file))}", f"hpcai submit {shlex.quote(str(file))} --follow")
