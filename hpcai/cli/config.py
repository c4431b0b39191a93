"""`hpcai config`: the settings that hold, each with its origin; JSON Schemas and completion for others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.columns import cutting
from hpcai.cli.output import emit_rows, output_option, put, say
from hpcai.entry import looked_at

if TYPE_CHECKING:
    from hpcai.cli.output import Row
    from hpcai.specs.settings import Settings

_COLUMNS = ("key", "value", "origin")
_KINDS = ("job", "steps", "cluster", "config")
# What these commands print with -o json.
_PRINTED = ("queue", "show", "why")
_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the job, e.g. nodes=4."
)
@click.option(
    "--schema",
    type=click.Choice([*_KINDS, *_PRINTED]),
    help="Print the JSON Schema of such a file, or of what queue, show or why print with -o json.",
)
@click.option("--completion", type=click.Choice(_SHELLS), help="Print what makes this shell complete hpcai.")
@output_option
def config(
    file: Path | None, overrides: tuple[str, ...], schema: str | None, completion: str | None, output: str
) -> None:
    """Show the settings that hold here, and who said each.

    With FILE, a job: all its values, those that came from config files and variables among them.
    From low to high: built-in, /etc/hpcai/config.yaml, site.yaml and config.yaml in
    ~/.config/hpcai, the nearest hpcai.yaml, the job's file, HPCAI_* variables, --set.

    \b
    Exit status: 0, 2 wrong usage, 3 a file is wrong, 5 no such file.
    """
    asked = [one for one in (file, schema, completion) if one is not None]
    if len(asked) > 1 or (overrides and file is None):
        raise click.UsageError("FILE, --schema and --completion go one at a time, and --set goes with FILE.")
    if schema is not None:
        _print_schema(schema)
    elif completion is not None:
        _print_completion(completion)
    else:
        from hpcai.cli.context import say_unheeded

        say_unheeded(all_of_them=True)
        rows = list(_settings() if file is None else _job(file, overrides))
        if file is not None and output == "table":
            rows = _of_use(rows)
        emit_rows(rows, _COLUMNS, output, kind="settings", room=cutting("value", "origin"))


def _settings() -> Iterator[Row]:
    from hpcai.specs.defaults import refuse_wrong_defaults
    from hpcai.specs.settings import SETTINGS, load_settings

    found = load_settings()
    refuse_wrong_defaults(found)
    for key in SETTINGS:
        yield {"key": key, "value": found.values.get(key), "origin": found.origins.get(key)}
    yield from _for_jobs(found)
    named = os.environ.get("HPCAI_SITE_CONFIG")
    if named and not looked_at(Path(named)).is_there:
        say(f"HPCAI_SITE_CONFIG is {named!r}, and there is no such file.")


def _for_jobs(settings: Settings) -> Iterator[Row]:
    """What holds for every job here, the one that wins alone."""
    from hpcai.specs.layers import MERGED
    from hpcai.specs.settings import JOB_VARIABLE

    seen = set()
    for variable, text in settings.job_variables.items():
        key = variable.removeprefix(JOB_VARIABLE).lower()
        seen.add(f"job.{key}")
        yield {"key": f"job.{key}", "value": text, "origin": variable}
    for document in settings.documents:
        for name, value in (document.data.get("job") or {}).items():
            parts = value.items() if name in MERGED and isinstance(value, dict) else [(None, value)]
            for part, one in parts:
                path = ("job", name) if part is None else ("job", name, part)
                if ".".join(path) not in seen:
                    yield {"key": ".".join(path), "value": one, "origin": str(document.place(path))}
                seen.add(".".join(path))


def _job(file: Path, overrides: tuple[str, ...]) -> Iterator[Row]:
    from hpcai.specs.job import JobSpec, as_json
    from hpcai.specs.layers import MERGED
    from hpcai.specs.load import open_text, origins, read
    from hpcai.specs.settings import load_settings

    base = file.absolute().parent
    opened = open_text(read(file), str(file), overrides, settings=load_settings(), base=base, only=JobSpec)
    said = origins(opened.document)
    for key, value in as_json(opened.spec).items():
        is_map = key in MERGED and isinstance(value, dict)
        for name, one in (
            ((f"{key}.{name}", one) for name, one in value.items()) if is_map else [(key, value)]
        ):
            yield {"key": name, "value": one, "origin": said.get(name, "built-in")}


def _of_use(rows: Sequence[Row]) -> list[Row]:
    """Those that somebody said, or that are more than left out."""
    found = [row for row in rows if row["origin"] != "built-in" or row["value"] not in (None, [], False)]
    say(f"{len(rows) - len(found)} more keys are left out of the job; `-o json` has them all.")
    return found


def _print_schema(kind: str) -> None:
    import json

    from hpcai.specs.schema import schema_of

    if kind in _PRINTED:
        put(Path(__file__).with_name("schemas").joinpath(f"{kind}.json").read_text(encoding="utf-8"), end="")
        return
    put(json.dumps(schema_of(kind), indent=2, ensure_ascii=False))


def _print_completion(shell: str) -> None:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root: Any = click.get_current_context().find_root().command
    put(found(root, {}, "hpcai", "_HPCAI_COMPLETE").source(), end="")
