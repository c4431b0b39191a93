"""The VM sizes of Azure that AI and HPC jobs run on, with a source and date for every figure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from hpcai.catalog.figures import FIGURES, Row, bare, read_rows
from hpcai.catalog.sources import named
from hpcai.entry import looked_at
from hpcai.errors import NotFoundError, SpecError, nearest
from hpcai.homes import config_home


@dataclass(frozen=True)
class VmSize:
    """What is known of one size; None means that no source states it."""

    name: str
    series: str | None = None
    vcpus: int | None = None
    memory_gib: float | None = None
    gpus: float | None = None
    """A part of one GPU on the sizes that share one."""
    gpu_model: str | None = None
    gpu_memory_gib: float | None = None
    """Of each GPU."""
    gpu_interconnect: str | None = None
    infiniband_rails: int | None = None
    infiniband_gbit_per_s: float | None = None
    """Of each rail."""
    nvme_count: int | None = None
    nvme_gib_each: float | None = None
    temp_gib: float | None = None
    numa_nodes: int | None = None
    arch: str | None = None
    ephemeral_os: bool | None = None
    generations: tuple[int, ...] | None = None
    spot: bool | None = None
    retires: str | None = None
    network_gbit_per_s: float | None = None
    """All Ethernet together."""
    price_usd_per_h: float | None = None
    """Linux, pay as you go, in `price_region` on `price_date`."""
    price_region: str | None = None
    price_date: str | None = None
    notes: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Figure -> where it is from, with date."""

    def has_retired(self, today: str) -> bool:
        """Whether its last day has come; dates are text such as 2027-05-31."""
        return self.retires is not None and self.retires <= today


def vm_sizes(environ: Mapping[str, str] = os.environ) -> Mapping[str, VmSize]:
    """All sizes by name, those of the user's own file among them.

    Raises SpecError with all mistakes of that file, NotFoundError when it is named and missing.
    """
    return _load(user_file(environ))


def vm_size(name: str, environ: Mapping[str, str] = os.environ) -> VmSize:
    """The size of this name, in any case and with or without `Standard_`.

    Raises NotFoundError with the nearest name, and what `vm_sizes` raises.
    """
    known = vm_sizes(environ)
    found = find_name(name, known)
    if found is None:
        raise NotFoundError(
            f"There is no VM size {name!r} in the catalog.",
            next_step=did_you_mean_size(name, known) or "hpcai vm list",
        )
    return known[found]


def find_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is meant, whatever its case and with or without `Standard_`."""
    wanted = bare(name)
    return next((each for each in known if bare(each) == wanted), None)


def did_you_mean_size(name: str, known: Iterable[str]) -> str | None:
    """The line that offers the nearest size, or None when none is near."""
    full, word = {bare(each): each for each in known}, bare(name)
    near = nearest(word, full)
    if near is None and len(word) > 2:
        # Such as gb300, which is far from the whole name.
        near = next((each for each in full if word in each), None)
    return f"Did you mean {full[near]!r}?" if near else None


def user_file(environ: Mapping[str, str]) -> Path | None:
    """The user's own file of sizes: what HPCAI_VM_SIZES names, else vm_sizes.csv or .json
    among the user's settings.

    Raises NotFoundError for a name that no file has.
    """
    told = environ.get("HPCAI_VM_SIZES")
    if told:
        path = Path(told).expanduser().absolute()
        found = looked_at(path)
        if not found.is_file and not found.refused:
            what = "that is no file" if found.is_there else "there is no such file"
            raise NotFoundError(
                f"HPCAI_VM_SIZES is {told!r}, and {what}.", next_step="See docs/catalog.md for such a file."
            )
        return path
    folder = config_home(environ)
    both = (folder / "vm_sizes.csv", folder / "vm_sizes.json")
    own = [path for path in both if looked_at(path).is_file]
    if len(own) > 1:
        raise SpecError(
            f"{str(own[0])!r} and {str(own[1])!r} both hold VM sizes.",
            next_step="Keep one of them.",
        )
    return own[0] if own else None


@cache
def _load(own: Path | None) -> Mapping[str, VmSize]:
    shipped = Path(__file__).with_name("vm_sizes.csv")
    rows = read_rows(shipped.read_text(encoding="utf-8"), shipped.name, is_json=False)
    sizes = {row.name: _shipped(row) for row in rows}
    if own is not None:
        _lay_over(sizes, own)
    return sizes


def _shipped(row: Row) -> VmSize:
    """A size of the table: its `sources` are ids, those of all figures first, then `figure=id+id`."""
    words = row.remarks["sources"].split()
    pages = named(word for word in words if "=" not in word)
    single = dict(word.split("=") for word in words if "=" in word)
    origins = dict.fromkeys(row.figures, pages)
    origins |= {figure: named(ids.split("+")) for figure, ids in single.items()}
    for about in ("price_region", "price_date"):
        if about in row.figures:
            origins[about] = origins["price_usd_per_h"]
    return VmSize(row.name, **row.figures, notes=row.remarks.get("notes", ""), sources=origins)


def _lay_over(sizes: dict[str, VmSize], own: Path) -> None:
    """The user's figures replace the table's, one by one; a name that is new is a new size."""
    for row in _own_rows(own):
        name = find_name(row.name, sizes) or row.name
        date = time.strftime("%Y-%m-%d", time.localtime(own.stat().st_mtime))
        words = f": {row.remarks['sources']}" if "sources" in row.remarks else ""
        origin = f"{own}:{row.line}{words} ({date})"
        before = sizes.get(name, VmSize(name))
        figures = dict(row.figures)
        if "price_usd_per_h" in figures:
            # The table's region and date are those of its own price.
            figures = {"price_region": None, "price_date": None} | figures
        origins = {key: source for key, source in before.sources.items() if key not in figures}
        origins |= {key: origin for key, value in figures.items() if value is not None}
        notes = row.remarks.get("notes", before.notes)
        sizes[name] = replace(before, **figures, notes=notes, sources=origins)


def _own_rows(own: Path) -> list[Row]:
    try:
        text = own.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{str(own)!r} is not UTF-8 text.", next_step="Save it as UTF-8.") from error
    except OSError as error:
        raise SpecError(f"{str(own)!r} cannot be read: {error.strerror}.") from error
    return read_rows(text, str(own), is_json=own.suffix == ".json")


assert set(FIGURES) <= set(VmSize.__dataclass_fields__)
