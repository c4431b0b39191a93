"""What every command prints with: data to stdout as table, JSON, JSON lines or CSV; words to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import click

from hpcai.cli.columns import Room, cut, fitted, padded, width_of, wrapped
from hpcai.errors import StageError

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "jsonl", "csv")

Row = Mapping[str, Any]
Style = Mapping[str, str]
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


def quiet_option(what: str) -> Callable[[F], F]:
    """Adds `-q/--quiet`, passed as `quiet`: print `what` alone, which is what names the thing in a script."""
    return click.option("-q", "--quiet", is_flag=True, help=f"Print {what} and nothing else.")


class OutputError(StageError):
    """Stdout could not be written: a full disk, or nothing there."""


def put(text: object, *, end: str = "\n") -> None:
    """Data to stdout. Raises OutputError."""
    with _written(sys.stdout):
        click.echo(f"{text}{end}", nl=False, color=_color())


def put_bytes(stream: TextIO | None, data: bytes) -> None:
    """Bytes as they are to stdout or stderr. Raises OutputError."""
    with _written(stream):
        assert stream is not None
        stream.buffer.write(data)
        stream.flush()


@contextmanager
def _written(stream: TextIO | None) -> Iterator[None]:
    if stream is None:
        raise OutputError("What would be printed is lost: stdout is closed.")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_error(error, "stderr" if stream is sys.stderr else "stdout") from error


def output_error(error: OSError, name: str = "stdout") -> OutputError:
    """Our error for a stream that cannot be written."""
    return OutputError(
        f"What would be printed is lost: {name} cannot be written ({error.strerror}).",
        next_step="Print to another place, or make room there.",
    )


def say(words: str) -> None:
    """Words for a person, to stderr. Where nobody can hear them, the work goes on without."""
    try:
        click.echo(words, err=True, color=_color())
    except OSError:
        drop(sys.stderr)


def _color() -> bool | None:
    """None: click decides, by whether it is a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def drop(stream: TextIO) -> None:
    """From now on, what is written to the stream is lost; also what waits in its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def emit_rows(
    rows: Sequence[Row],
    columns: Sequence[str],
    output: str,
    *,
    kind: str,
    shown: Sequence[str] | None = None,
    color: Callable[[Row], Style] | None = None,
    room: Room | None = None,
) -> None:
    """Rows to stdout: `columns` are the keys of JSON and of CSV, `shown` (default: them too) the table's.

    `kind` names the rows in JSON: {"schema_version": 1, kind: [...]}. `color` gives the colors of a row's
    cells by column. `room` says what of a table is cut where a terminal has no room for it.
    """
    if output == "table":
        _table(rows, columns if shown is None else shown, color, room)
        return
    whole = [{column: row.get(column) for column in columns} for row in rows]
    if output == "csv":
        _csv([columns, *(row.values() for row in whole)])
    elif output == "json":
        _json({"schema_version": SCHEMA_VERSION, kind: whole}, indent=2)
    else:
        for row in whole:
            _json({"schema_version": SCHEMA_VERSION, **row})


def emit_object(value: Row, output: str, *, color: Style | None = None) -> None:
    """One thing in full to stdout: a two-column table, or one JSON object.

    `color` gives the colors of values by their field. On a terminal words that do not fit go below.
    """
    if output in ("json", "jsonl"):
        _json({"schema_version": SCHEMA_VERSION, **value}, indent=2 if output == "json" else None)
        return
    rows = [{"field": key, "value": item} for key, item in value.items()]
    if output == "table" and _is_terminal():
        begin = max([len("field"), *map(width_of, value)]) + 2
        screen = shutil.get_terminal_size().columns
        rows = [{**row, "value": wrapped(_cell(row["value"]), screen, begin)} for row in rows]
    found = color or {}
    emit_rows(
        rows,
        ["field", "value"],
        output,
        kind="fields",
        color=lambda row: {"value": found.get(row["field"], "")},
    )


def _json(value: Row, *, indent: int | None = None) -> None:
    import json

    put(json.dumps(value, indent=indent))


def _csv(lines: Iterable[Iterable[object]]) -> None:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    put(text.getvalue(), end="")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        import json

        return json.dumps(value)
    return str(value)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _table(
    rows: Sequence[Row], columns: Sequence[str], color: Callable[[Row], Style] | None, room: Room | None
) -> None:
    lines = [[column.upper() for column in columns], *table_cells(rows, columns)]
    found = [max(map(width_of, cells)) for cells in zip(*lines, strict=True)]
    widths = dict(zip(columns, found, strict=True))
    if room is not None and _is_terminal():
        widths = fitted(widths, shutil.get_terminal_size().columns, room)
    styles: list[Style] = [dict.fromkeys(columns, "bold"), *(color(row) if color else {} for row in rows)]
    for line, style in zip(lines, styles, strict=True):
        cells = dict(zip(columns, line, strict=True))
        put(
            "  ".join(_styled(cells[name], width, style.get(name)) for name, width in widths.items()).rstrip()
        )


def table_cells(rows: Iterable[Row], columns: Sequence[str]) -> list[list[str]]:
    """What a table says of each row; a dash where there is nothing."""
    return [[_cell(row.get(column)) or "-" for column in columns] for row in rows]


def _styled(text: str, width: int, style: str | None) -> str:
    shown = cut(text, width)
    whole = padded(shown, width)
    if not style:
        return whole
    return styled(shown, style) + whole[len(shown) :]


def styled(text: str, style: str) -> str:
    """The text in a color, or bold or dim; a terminal alone is given that."""
    return click.style(text, **{style: True}) if style in ("bold", "dim") else click.style(text, fg=style)
