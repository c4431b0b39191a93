"""`hpcai cluster`: CycleCloud clusters as code."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hpcai.cli.groups import CommandGroup
from hpcai.cli.output import put, say


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

    Without a folder the template goes to stdout, and nothing is written.

    \b
    Exit status: 0 done, 2 wrong usage, 3 the file is wrong, 5 no such file,
    7 the folder cannot be written.
    """
    from hpcai.errors import StageError
    from hpcai.render.cluster import open_parameters, render_cluster
    from hpcai.specs.cluster import ClusterSpec
    from hpcai.specs.load import load_as

    spec = load_as(ClusterSpec, file, overrides)
    template, parameters = render_cluster(spec)
    if folder is None:
        put(template, end="")
        return
    paths = folder / f"{spec.name}.txt", folder / f"{spec.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, (template, parameters), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StageError(
            f"{str(folder)!r} cannot be written: {error.strerror}.",
            next_step="Choose another folder with --to.",
        ) from error
    for path in paths:
        put(path)
    _say_next(spec.name, *paths, open_parameters(spec))


def _say_next(name: str, template: Path, parameters: Path, still_open: list[str]) -> None:
    if still_open:
        say(f"Still to fill in, there or with --set: {', '.join(still_open)}.")
    say("Then, where the CycleCloud command line is set up:")
    files = ["-f", str(template), "-p", str(parameters)]
    say("  " + shlex.join(["cyclecloud", "import_cluster", name, "-c", name, *files]))
    say(f"  cyclecloud start_cluster {name}")
