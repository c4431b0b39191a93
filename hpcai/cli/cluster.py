"""`hpcai cluster`: CycleCloud clusters as code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.groups import CommandGroup
from hpcai.cli.output import put, say

if TYPE_CHECKING:
    from hpcai.specs.cluster import ClusterSpec


@click.group(cls=CommandGroup)
def cluster() -> None:
    """CycleCloud clusters as code."""


@cluster.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write NAME.txt and NAME.json into this folder, which is made when it is missing.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the file, e.g. region=westeurope.",
)
def render(file: Path, folder: Path | None, overrides: tuple[str, ...]) -> None:
    """Make a CycleCloud template and its parameters file from a cluster's YAML file.

    Without a folder the template goes to stdout, and nothing is written. Values that a person has filled
    in the parameters file stay when it is rendered again, where FILE leaves them open;
    .NAME.json.rendered beside it tells them from those that FILE gave.

    \b
    Exit status: 0 done, 2 wrong usage, 3 the file or the parameters file is wrong, 5 no such file,
    7 the folder cannot be written.
    """
    from hpcai.render.cluster import render_cluster
    from hpcai.specs.cluster import ClusterSpec
    from hpcai.specs.load import load_as

    spec = load_as(ClusterSpec, file, overrides)
    if folder is None:
        put(render_cluster(spec)[0], end="")
    else:
        _render_to(folder, spec)


def _render_to(folder: Path, spec: ClusterSpec) -> None:
    from hpcai.errors import StageError
    from hpcai.files import write_whole
    from hpcai.render.cluster import filled_in, open_parameters, render_cluster

    template, parameters = folder / f"{spec.name}.txt", folder / f"{spec.name}.json"
    # What the cluster's file alone gave; what differs from it was filled in by a person.
    rendered = folder / f".{spec.name}.json.rendered"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _values_in(parameters)
        kept = filled_in(spec, before, _values_in(rendered))
        texts = (*render_cluster(spec, kept), render_cluster(spec)[1])
        for path, text in zip((template, parameters, rendered), texts, strict=True):
            write_whole(path, text)
    except OSError as error:
        raise StageError(
            f"{str(folder)!r} cannot be written: {error.strerror}.",
            next_step="Choose another folder with --to.",
        ) from error
    put(template)
    put(parameters)
    _say_what_stays(kept, before, texts[1])
    _say_next(spec.name, template, parameters, open_parameters(spec, kept))


def _values_in(parameters: Path) -> dict[str, Any]:
    """The values that a parameters file gives; none when there is no file. Raises OSError, SpecError."""
    import json

    from hpcai.errors import SpecError

    try:
        values = json.loads(parameters.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        why = f"{str(parameters)!r} is no JSON ({error})."
    else:
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value not in (None, "")}
        why = f"{str(parameters)!r} holds no JSON object."
    raise SpecError(why, next_step="Correct it, so that what you filled in stays, or remove it.")


def _say_what_stays(kept: Mapping[str, Any], before: Mapping[str, Any], text: str) -> None:
    import json

    now = json.loads(text)
    lost = [f"{name} (was {value!r})" for name, value in before.items() if value != now.get(name)]
    if kept:
        say(f"Kept from the parameters file as it was: {', '.join(kept)}.")
    if lost:
        say(f"Not kept from the parameters file, because of the cluster's file: {', '.join(lost)}.")


def _say_next(name: str, template: Path, parameters: Path, still_open: list[str]) -> None:
    if still_open:
        say(f"Still to fill in, there or with --set: {', '.join(still_open)}.")
    say("Then, where the CycleCloud command line is set up:")
    files = ["-f", str(template), "-p", str(parameters)]
    say("  " + shlex.join(["cyclecloud", "import_cluster", name, "-c", name, *files]))
    say(f"  cyclecloud start_cluster {name}")
