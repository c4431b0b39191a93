"""What a VM size costs by the hour: the table's dated figure, and what the user has asked Azure for since."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcai.catalog.sizes import VmSize
from hpcai.errors import StageError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Price:
    """US dollars per hour of one Linux VM in a region; None where nothing is known.

    A reservation is paid for its whole term; here it is that price divided by the hours of the term.
    """

    vm_size: str
    region: str | None = None
    on_demand_usd_per_h: float | None = None
    spot_usd_per_h: float | None = None
    reserved_1_year_usd_per_h: float | None = None
    reserved_3_years_usd_per_h: float | None = None
    date: str | None = None
    source: str | None = None

    @property
    def spot_at_most_usd_per_h(self) -> float | None:
        """The spot price, or the price that it never exceeds."""
        return self.on_demand_usd_per_h if self.spot_usd_per_h is None else self.spot_usd_per_h


def of_table(size: VmSize) -> Price:
    """The price in the table of sizes, or in the user's own; all None where neither has one."""
    return Price(
        size.name,
        region=size.price_region,
        on_demand_usd_per_h=size.price_usd_per_h,
        date=size.price_date,
        source=size.sources.get("price_usd_per_h"),
    )


def prices_of(size: VmSize, asked: Iterable[Price], region: str | None = None) -> list[Price]:
    """All prices known of a size, by region: those that Azure was asked for, else the table's.

    A price of the user's own that names no region holds in all. A size without any price has one, all None,
    unless a `region` is asked for.
    """
    table = of_table(size)
    if table.on_demand_usd_per_h is not None and table.region is None:
        return [table]
    found = {price.region: price for price in asked if price.vm_size == size.name}
    newer = found.get(table.region)
    if table.on_demand_usd_per_h is not None and (
        newer is None or table.date is None or (newer.date or "") < table.date
    ):
        found[table.region] = table
    if region is not None:
        return [found[region]] if region in found else []
    return [found[each] for each in sorted(found, key=str)] or [Price(size.name)]


def load_prices(path: Path) -> list[Price]:
    """What Azure was asked for before; nothing where it never was. Raises StageError for a damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(content["schema_version"])
        return [Price(**_checked(entry)) for entry in content["prices"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StageError(f"The prices in {str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StageError(
            f"The prices in {str(path)!r} are damaged, or a newer hpcai wrote them.",
            next_step="hpcai vm prices --refresh --region eastus",
        ) from error


def save_prices(path: Path, new: Iterable[Price], *, replaced: Mapping[str, str | None]) -> None:
    """Adds `new` to the file in one step; what stood there of the sizes in `replaced` goes.

    `replaced`: size -> region, None for all of its regions. Raises StageError.
    """
    # Here, because who only reads prices is quicker without.
    from hpcai.files import NO_ROOM, locked, write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            kept = [price for price in _kept(path) if not _is_replaced(price, replaced)]
            rows = sorted((*kept, *new), key=lambda price: (price.vm_size, str(price.region)))
            content = {"schema_version": SCHEMA_VERSION, "prices": [asdict(price) for price in rows]}
            write_whole(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        why = "the disk is full" if error.errno in NO_ROOM else error.strerror
        raise StageError(f"The prices cannot be kept in {str(path)!r}: {why}.") from error


def _kept(path: Path) -> list[Price]:
    try:
        return load_prices(path)
    except StageError:
        # It can be asked for again.
        return []


def _is_replaced(price: Price, replaced: Mapping[str, str | None]) -> bool:
    return price.vm_size in replaced and replaced[price.vm_size] in (None, price.region)


def _checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in entry.items():
        wanted: tuple[type, ...] = (int, float) if key.endswith("_per_h") else (str,)
        if value is not None and (not isinstance(value, wanted) or value in (math.inf, -math.inf)):
            raise ValueError(key)
    return dict(entry)
