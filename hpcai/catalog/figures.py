"""The figures of a VM size: their names, what each may be, and how a file of them is read."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from hpcai.errors import SpecError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """What a figure may be; `parse` raises ValueError for what it may not."""

    allowed: str
    parse: Callable[[str], Any]


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
            raise ValueError(text)
        return int(text)

    return parse


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError(text)
    return int(number) if number == int(number) else number


def _gpus(text: str) -> float:
    """A count, or the part of one GPU that the size has: `1/6`."""
    part = re.fullmatch(r"1/([1-9]\d?)", text, re.ASCII)
    return 1 / int(part[1]) if part else _count(0)(text)


def _date(text: str) -> str:
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", text, re.ASCII):
        raise ValueError(text)
    return date.fromisoformat(text).isoformat()


def _one_of(words: Mapping[str, Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text not in words:
            raise ValueError(text)
        return words[text]

    return parse


_FROM_0 = Kind("a whole number from 0", _count(0))
_FROM_1 = Kind("a whole number from 1", _count(1))
_AMOUNT = Kind("a number from 0", _number)
_TEXT = Kind("a text", str)
_YES_NO = Kind("yes or no", _one_of({"yes": True, "no": False}))
_DATE = Kind("a date such as 2027-05-31", _date)

# Column of a file, key of JSON and field of VmSize; units are GiB, gigabits per second and US dollars.
FIGURES: Mapping[str, Kind] = {
    "series": _TEXT,
    "vcpus": _FROM_1,
    "memory_gib": _AMOUNT,
    "gpus": Kind("a whole number from 0, or a part of one such as 1/6", _gpus),
    "gpu_model": _TEXT,
    "gpu_memory_gib": _AMOUNT,
    "gpu_interconnect": _TEXT,
    "infiniband_rails": _FROM_0,
    "infiniband_gbit_per_s": _AMOUNT,
    "nvme_count": _FROM_0,
    "nvme_gib_each": _AMOUNT,
    "temp_gib": _AMOUNT,
    "numa_nodes": _FROM_1,
    "arch": Kind("x86_64 or arm64", _one_of({"x86_64": "x86_64", "arm64": "arm64"})),
    "ephemeral_os": _YES_NO,
    "generations": Kind("1, 2 or '1 2'", _one_of({"1": (1,), "2": (2,), "1 2": (1, 2)})),
    "spot": _YES_NO,
    "retires": _DATE,
    "network_gbit_per_s": _AMOUNT,
    "price_usd_per_h": _AMOUNT,
    "price_region": Kind("a region such as eastus", _TEXT.parse),
    "price_date": _DATE,
}
# Words about a row, which are no figures.
REMARKS = ("sources", "notes")


@dataclass(frozen=True)
class Row:
    """What one place of a file says of one size; what it leaves empty is not in `figures`."""

    name: str
    line: int
    figures: Mapping[str, Any]
    remarks: Mapping[str, str]


def read_rows(text: str, origin: str, *, is_json: bool) -> list[Row]:
    """The sizes in a file's text; raises SpecError with all mistakes, each with its line."""
    mistakes: list[tuple[int, str]] = []
    given = _json_rows(text, mistakes) if is_json else _csv_rows(text, mistakes)
    rows = [_row(name, line, values, mistakes, _places(text, name, is_json)) for name, line, values in given]
    seen: dict[str, Row] = {}
    for row in rows:
        before = seen.setdefault(bare(row.name), row)
        if before is not row:
            words = f"vm_size: got {row.name!r}, which line {before.line} has already as {before.name!r}"
            mistakes.append((row.line, words))
    if mistakes:
        raise SpecError("\n".join(f"{origin}:{line}: {words}" for line, words in sorted(mistakes)))
    return rows


def bare(name: str) -> str:
    """The name as it is compared: in lower case and without `Standard_`."""
    return name.strip().lower().removeprefix("standard_")


Given = tuple[str, int, dict[str, str]]


def _csv_rows(text: str, mistakes: list[tuple[int, str]]) -> list[Given]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if header[:1] != ["vm_size"]:
            first = header[0] if header else ""
            parted = ", and columns are parted by commas" if re.search("[;\t]", first) else ""
            mistakes.append((1, f"got {first!r} as the first column; it is vm_size{parted}"))
            return []
        _check_keys(header[1:], 1, mistakes)
        found = []
        for cells in reader:
            line = reader.line_num
            if len(cells) > len(header):
                mistakes.append((line, f"got {len(cells)} values for {len(header)} columns"))
            elif cells and cells[0].strip():
                found.append((cells[0].strip(), line, dict(zip(header[1:], cells[1:], strict=False))))
            elif any(cell.strip() for cell in cells):
                mistakes.append((line, "vm_size: is empty; the name of a size such as Standard_HB176rs_v4"))
    except csv.Error as error:
        mistakes.append((reader.line_num, f"is no CSV: {error}"))
        return []
    known = FIGURES.keys() | set(REMARKS)
    return [(name, line, {k: v for k, v in values.items() if k in known}) for name, line, values in found]


def _json_rows(text: str, mistakes: list[tuple[int, str]]) -> list[Given]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for index, (key, _) in enumerate(pairs):
            if key in [before for before, _ in pairs[:index]]:
                last = list(re.finditer(rf'"{re.escape(key)}"\s*:', text))[-1]
                mistakes.append((_line_at(text, last.start()), f"{key}: stands here twice"))
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        mistakes.append((error.lineno, f"is no JSON: {error.msg}"))
        return []
    except RecursionError:
        mistakes.append((1, "is no JSON that anybody wrote: its lists and maps are too deep"))
        return []
    if not isinstance(content, dict):
        mistakes.append((1, 'got no map; write {"Standard_HB176rs_v4": {"memory_gib": 760}}'))
        return []
    found = []
    for name, values in content.items():
        place = _places(text, name, True)
        if not isinstance(values, dict):
            mistakes.append((place(None), f"{name}: got {values!r}; a map of figures"))
            continue
        for key in values:
            _check_keys([key], place(key), mistakes)
        known = {key: _as_text(value) for key, value in values.items() if key in FIGURES or key in REMARKS}
        found.append((name.strip(), place(None), known))
    return found


def _check_keys(keys: list[str], line: int, mistakes: list[tuple[int, str]]) -> None:
    known = [*FIGURES, *REMARKS]
    for key in keys:
        if key not in known:
            hint = did_you_mean(key, known)
            words = f". {hint}" if hint else f"; figures are {', '.join(known)}"
            mistakes.append((line, f"{key}: is no figure{words}"))
        elif keys.count(key) > 1 and (line, f"{key}: is a column twice") not in mistakes:
            mistakes.append((line, f"{key}: is a column twice"))


def _as_text(value: Any) -> str:
    """JSON's own types as a CSV cell would say them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_as_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _row(
    name: str,
    line: int,
    values: Mapping[str, str],
    mistakes: list[tuple[int, str]],
    place: Callable[[str | None], int],
) -> Row:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        mistakes.append((line, f"vm_size: got {name!r}; letters, digits, '_' and '-'"))
    figures = {}
    for key, text in _filled(values):
        if key not in FIGURES:
            continue
        try:
            figures[key] = FIGURES[key].parse(text)
        except ValueError:
            at = place(key) or line
            mistakes.append((at, f"{name}: {key}: got {text!r}; {FIGURES[key].allowed}"))
    return Row(name, line, figures, {key: text for key, text in _filled(values) if key in REMARKS})


def _filled(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((key, text.strip()) for key, text in values.items() if text.strip())


def _places(text: str, name: str, is_json: bool) -> Callable[[str | None], int]:
    """The line of a size in a JSON text, or of one of its keys; 0 in a CSV, where a row knows its line."""

    def place(key: str | None) -> int:
        if not is_json:
            return 0
        size = re.search(rf'"{re.escape(name)}"\s*:', text)
        start = size.start() if size else 0
        found = re.compile(rf'"{re.escape(key)}"\s*:').search(text, start) if key is not None else None
        return _line_at(text, found.start() if found else start)

    return place


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
