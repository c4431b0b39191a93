"""The prices that `hpcai vm` and `hpcai diff` tell: of the table, or as Azure's price list said last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hpcai.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hpcai.catalog.prices import Price
    from hpcai.catalog.sizes import VmSize

SHOWN = ("size", "region", "on_demand", "spot", "reserved_1_year", "reserved_3_years", "date")
COLUMNS = (
    *("size", "region", "on_demand_usd_per_h", "spot_usd_per_h", "spot_at_most_usd_per_h"),
    *("reserved_1_year_usd_per_h", "reserved_3_years_usd_per_h", "date", "source"),
)


def refresh_prices(sizes: Sequence[VmSize], region: str | None, *, by_size: bool) -> None:
    """Asks Azure's price list and keeps its answer; `by_size` asks for each size alone. Raises HpcaiError."""
    from hpcai.catalog.prices import save_prices
    from hpcai.catalog.retail import ENDPOINT, ask_prices
    from hpcai.errors import NotFoundError, did_you_mean

    names = [size.name for size in sizes]
    endpoint = os.environ.get("HPCAI_PRICES_URL") or ENDPOINT
    found = ask_prices(names if by_size else None, region, names, endpoint=endpoint, say=say)
    if not found:
        where = f" in the region {region!r}" if region is not None else ""
        what = ", ".join(names) if by_size else "any size of the catalog"
        regions = {price.region for size in sizes for price in prices(size, asked_prices(), None)}
        raise NotFoundError(
            f"Azure's price list has nothing for {what}{where}.",
            next_step=did_you_mean(region, filter(None, regions)) if region is not None else None,
        )
    save_prices(_prices_file(), found, replaced=dict.fromkeys(names, region))


def asked_prices() -> list[Price]:
    """What Azure was asked for before; where that cannot be read, it is said, and the table's are told."""
    from hpcai.catalog.prices import load_prices
    from hpcai.errors import StageError

    try:
        return load_prices(_prices_file())
    except StageError as error:
        say(f"hpcai: {error}")
        return []


def lowest_price(*sizes: VmSize) -> dict[str, Price]:
    """The lowest price on demand that is known of each size, by its name."""
    asked = asked_prices()
    return {size.name: lowest(size, asked) for size in sizes}


def lowest(size: VmSize, asked: list[Price]) -> Price:
    """The lowest price on demand that is known of a size; all None where none is."""
    known = prices(size, asked, None)
    return min(known, key=lambda price: price.on_demand_usd_per_h or float("inf"))


def prices(size: VmSize, asked: list[Price], region: str | None) -> list[Price]:
    """All prices known of a size, by region."""
    from hpcai.catalog.prices import prices_of

    return prices_of(size, asked, region)


def row_of(price: Price) -> dict[str, Any]:
    """A price as JSON and CSV have it."""
    return {
        "size": price.vm_size,
        "region": price.region,
        "on_demand_usd_per_h": price.on_demand_usd_per_h,
        "spot_usd_per_h": price.spot_usd_per_h,
        "spot_at_most_usd_per_h": price.spot_at_most_usd_per_h,
        "reserved_1_year_usd_per_h": price.reserved_1_year_usd_per_h,
        "reserved_3_years_usd_per_h": price.reserved_3_years_usd_per_h,
        "date": price.date,
        "source": price.source,
    }


def row_for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a person reads it."""
    names = ("on_demand", "spot", "reserved_1_year", "reserved_3_years")
    told = {name: dollars(row[f"{name}_usd_per_h"]) for name in names}
    if row["spot_usd_per_h"] is None and row["on_demand_usd_per_h"] is not None:
        told["spot"] = f"unknown, at most {dollars(row['on_demand_usd_per_h'])}"
    return {"size": row["size"], "region": row["region"], "date": row["date"], **told}


def dollars(usd: float | None) -> str | None:
    """The amount as price lists write it: `3.06`, and up to four digits where it has them."""
    if usd is None:
        return None
    whole, _, fraction = f"{usd:.4f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def say_what_is_told(
    known: Sequence[Mapping[str, Any]], names: Sequence[str], region: str | None, *, refreshed: bool
) -> None:
    """To stderr: currency, system and dates of the prices, or what to type where none is known."""
    if known:
        dates = sorted({str(row["date"]) for row in known if row["date"]})
        of = f" of {' to '.join(dict.fromkeys((dates[0], dates[-1])))}" if dates else ""
        more = "" if refreshed else " --refresh asks Azure for today's."
        say(f"US dollars per hour, Linux, prices{of}.{more}")
        return
    say(f"No price is known{f' in {region!r}' if region is not None else ''}.")
    if not refreshed:
        import shlex

        where = ["--region", region] if region is not None else [] if names else ["--region", "eastus"]
        say("  " + shlex.join(["hpcai", "vm", "prices", *names, *where, "--refresh"]))


def _prices_file() -> Path:
    from hpcai.specs.site import cache_dir

    return cache_dir() / "prices.json"
