"""What every command prints with: data to stdout as table, JSON, JSON lines or CSV; words to stderr."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "jsonl", "csv")

Row = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


def output_option(function: F) -> F:
    """Adds `-o/--output`, passed as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Form of stdout.",
    )(function)


def quiet_option(function: F) -> F:
    """Adds `-q/--quiet`, passed as `quiet`: ids only."""
    return click.option("-q", "--quiet", is_flag=True, help="Print ids only.")(function)


def say(words: str) -> None:
    """Words for a person, to stderr."""
    click.echo(words, err=True)


def emit_rows(rows: Sequence[Row], columns: Sequence[str], output: str, *, kind: str) -> None:
    """Rows to stdout; `kind` names them in JSON: {"schema_version": 1, kind: [...]}."""
    if output == "json":
        click.echo(
            json.dumps({"schema_version": SCHEMA_VERSION, kind: [dict(row) for row in rows]}, indent=2)
        )
    elif output == "jsonl":
        for row in rows:
            click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **row}))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[_cell(row.get(column)) for column in columns] for row in rows])
    else:
        _table(rows, columns)


def emit_object(value: Row, output: str) -> None:
    """One thing in full to stdout: a two-column table, or one JSON object."""
    if output in ("json", "jsonl"):
        indent = 2 if output == "json" else None
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=indent))
    else:
        rows = [{"field": key, "value": item} for key, item in value.items()]
        emit_rows(rows, ["field", "value"], output, kind="fields")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    grid = [[column.upper() for column in columns]]
    grid += [[_cell(row.get(column)) or "-" for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in grid) for index in range(len(columns))]
    for line in grid:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
