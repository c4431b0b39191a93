"""What every command prints with: data to stdout as table, JSON, JSON lines or CSV; words to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import click

from hpcai.errors import StageError

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "jsonl", "csv")

Row = Mapping[str, Any]
Style = Mapping[str, str]
F = TypeVar("F", bound=Callable[..., Any])
# No column of a table gets narrower for want of room.
_NARROWEST = 10


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
    give_way: Sequence[str] = (),
) -> None:
    """Rows to stdout: `columns` are the keys of JSON and of CSV, `shown` (default: them too) the table's.

    `kind` names the rows in JSON: {"schema_version": 1, kind: [...]}. `color` gives the colors of a row's
    cells by column. Where a terminal has no room, cells of the columns in `give_way` are cut, with
    `color` those of all.
    """
    if output == "table":
        shown = columns if shown is None else shown
        _table(rows, shown, color, shown if color is not None else give_way)
        return
    whole = [{column: row.get(column) for column in columns} for row in rows]
    if output == "csv":
        _csv([columns, *(row.values() for row in whole)])
    elif output == "json":
        _json({"schema_version": SCHEMA_VERSION, kind: whole}, indent=2)
    else:
        for row in whole:
            _json({"schema_version": SCHEMA_VERSION, **row})


def emit_object(value: Row, output: str) -> None:
    """One thing in full to stdout: a two-column table, or one JSON object."""
    if output in ("json", "jsonl"):
        _json({"schema_version": SCHEMA_VERSION, **value}, indent=2 if output == "json" else None)
    else:
        rows = [{"field": key, "value": item} for key, item in value.items()]
        emit_rows(rows, ["field", "value"], output, kind="fields")


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


def _table(
    rows: Sequence[Row], columns: Sequence[str], color: Callable[[Row], Style] | None, give_way: Sequence[str]
) -> None:
    lines = [[column.upper() for column in columns], *table_cells(rows, columns)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if give_way and sys.stdout is not None and sys.stdout.isatty():
        cuts = [index for index, column in enumerate(columns) if column in give_way]
        taken = sum(width + 2 for index, width in enumerate(widths) if index not in cuts)
        room = shutil.get_terminal_size().columns - taken
        for index, width in zip(cuts, fitted([widths[index] for index in cuts], room), strict=True):
            widths[index] = width
    styles: list[Style] = [{}, *(color(row) if color else {} for row in rows)]
    for line, style in zip(lines, styles, strict=True):
        cells = zip(columns, line, widths, strict=True)
        put("  ".join(_padded(cell, width, style.get(column)) for column, cell, width in cells).rstrip())


def table_cells(rows: Iterable[Row], columns: Sequence[str]) -> list[list[str]]:
    """What a table says of each row; a dash where there is nothing."""
    return [[_cell(row.get(column)) or "-" for column in columns] for row in rows]


def fitted(widths: Sequence[int], room: int) -> list[int]:
    """Widths of columns, two spaces apart, that take no more than `room`: the widest give way."""
    found = list(widths)
    over = sum(found) + 2 * (len(found) - 1) - room
    while over > 0 and max(found) > _NARROWEST:
        found[found.index(max(found))] -= 1
        over -= 1
    return found


def cut(text: str, width: int) -> str:
    """The text in at most so many columns; three dots stand for a name's middle, or a sentence's end."""
    if len(text) <= width:
        return text
    tail = 0 if " " in text else (width - 3) // 2
    return f"{text[: max(0, width - 3 - tail)]}...{text[len(text) - tail :]}"[:width]


def _padded(text: str, width: int, style: str | None) -> str:
    shown = cut(text, width)
    return (click.style(shown, fg=style) if style else shown) + " " * (width - len(shown))
