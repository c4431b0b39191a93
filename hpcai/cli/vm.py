"""`hpcai vm`: what is known of Azure's VM sizes, and what they cost."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli import vm_prices
from hpcai.cli.columns import cutting
from hpcai.cli.complete import complete_vm_size
from hpcai.cli.groups import CommandGroup
from hpcai.cli.numbers import FiniteRange
from hpcai.cli.output import emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpcai.catalog.prices import Price
    from hpcai.catalog.sizes import VmSize

# Short, for a terminal of 80 columns; the other forms have every figure under its whole name.
_FOR_PEOPLE = ("size", "cpus", "gib", "gpus", "infiniband", "usd_per_h", "profile", "retires")


@click.group(cls=CommandGroup)
def vm() -> None:
    """What is known of Azure's VM sizes, and what they cost.

    Every figure has a source and a date; what nobody states is unknown. Your own file, named by
    HPCAI_VM_SIZES or vm_sizes.csv or .json in ~/.config/hpcai, replaces single figures and adds sizes.
    """


@vm.command("list")
@click.option("--gpus", "with_gpus", is_flag=True, help="Only sizes with GPUs.")
@click.option("--gpu", "gpu_model", metavar="TEXT", help="Only sizes whose GPU's name holds this, e.g. h100.")
@click.option("--infiniband", is_flag=True, help="Only sizes that are known to have InfiniBand.")
@click.option("--series", metavar="SERIES", help="Only this series, or those that begin so, e.g. ND or HBv4.")
@click.option("--profile", "with_profile", is_flag=True, help="Only sizes that have a run profile.")
@click.option(
    "--max-price",
    "most_usd_per_h",
    type=FiniteRange(min=0),
    metavar="USD",
    help="Only sizes that are known to cost at most this by the hour.",
)
@output_option
@quiet_option("the names")
def list_(
    with_gpus: bool,
    gpu_model: str | None,
    infiniband: bool,
    series: str | None,
    with_profile: bool,
    most_usd_per_h: float | None,
    output: str,
    quiet: bool,
) -> None:
    """List VM sizes.

    The price is that of `hpcai vm prices` for Linux, pay as you go; where several regions are known, the
    lowest. A size that has retired says since when.

    \b
    Exit status: 0 also when none fits, 2 wrong usage, 3 your file of sizes is wrong,
    5 no such series, or HPCAI_VM_SIZES names no file.
    """
    from hpcai.catalog.sizes import vm_sizes

    sizes = list(vm_sizes().values())
    if series is not None:
        sizes = _of_series(sizes, series)
    asked = vm_prices.asked_prices()
    rows = [_row(size, asked) for size in sizes if _fits(size, with_gpus, gpu_model, infiniband)]
    rows = [row for row in rows if row["profile"] or not with_profile]
    if most_usd_per_h is not None:
        rows = _at_most(rows, most_usd_per_h)
    if not rows:
        say("No VM size in the catalog fits.")
    if quiet:
        for row in rows:
            put(row["size"])
    elif rows or output != "table":
        shown = [_for_people(row) for row in rows] if output == "table" else rows
        # Few retire.
        columns = [one for one in _FOR_PEOPLE if one != "retires" or any(row.get(one) for row in shown)]
        emit_rows(
            shown, _list_columns(), output, kind="vm_sizes", shown=columns, room=cutting("gpus", "infiniband")
        )


@vm.command()
@click.argument("size", shell_complete=complete_vm_size)
@output_option
@quiet_option("the name")
def show(size: str, output: str, quiet: bool) -> None:
    """Show all that is known of one VM size.

    Its figures, run profile, health baseline, HPC images and price, each with source and date. SIZE is a name
    in any case, with or without `Standard_`.

    \b
    Exit status: 0 done, 2 wrong usage, 3 your file of sizes is wrong,
    5 no such size, or HPCAI_VM_SIZES names no file.
    """
    from hpcai.catalog.sizes import vm_size
    from hpcai.cli.vm_facts import emit_facts

    found = vm_size(size)
    if quiet:
        put(found.name)
        return
    today = time.strftime("%Y-%m-%d")
    if found.has_retired(today):
        say(f"{found.name} has retired on {found.retires}: Azure starts no new ones.")
    emit_facts(found, vm_prices.prices(found, vm_prices.asked_prices(), None), output)


@vm.command()
@click.argument("names", metavar="[SIZE]...", nargs=-1, shell_complete=complete_vm_size)
@click.option("--region", metavar="REGION", help="Only this region, e.g. westeurope.")
@click.option("--refresh", is_flag=True, help="Ask Azure's public price list now, and keep its answer.")
@output_option
@quiet_option("the names of sizes that have a price")
def prices(names: tuple[str, ...], region: str | None, refresh: bool, output: str, quiet: bool) -> None:
    """Tell what VM sizes cost by the hour, for Linux in US dollars.

    Prices are the table's, each with its region and date, until --refresh asks Azure (on demand, spot,
    reserved for 1 and 3 years) and keeps what it says for later calls. A spot price that is not known is at
    most the price on demand. --refresh needs SIZEs or a --region. HPCAI_PRICES_URL names another price list.

    \b
    Exit status: 0 done, also when no price is known, 2 wrong usage, 3 your file of sizes is wrong,
    4 the price list refuses, or its answer cannot be read, 5 no such size or region, 6 it does not answer,
    7 the answer cannot be kept.
    """
    from hpcai.catalog.sizes import vm_size, vm_sizes

    region = region.lower() if region is not None else None
    sizes = [vm_size(name) for name in dict.fromkeys(names)] or list(vm_sizes().values())
    if refresh:
        if not names and region is None:
            raise click.UsageError(
                "--refresh of all sizes in all regions is too much. Give SIZEs or --region."
            )
        vm_prices.refresh_prices(sizes, region, by_size=bool(names))
    asked = vm_prices.asked_prices()
    rows = [vm_prices.row_of(price) for size in sizes for price in vm_prices.prices(size, asked, region)]
    known = [row for row in rows if row["on_demand_usd_per_h"] is not None]
    if quiet:
        for name in dict.fromkeys(row["size"] for row in known):
            put(name)
    elif rows or output != "table":
        shown = [vm_prices.row_for_people(row) for row in rows] if output == "table" else rows
        emit_rows(shown, vm_prices.COLUMNS, output, kind="prices", shown=vm_prices.SHOWN)
    vm_prices.say_what_is_told(known, names, region, refreshed=refresh)


def _fits(size: VmSize, with_gpus: bool, gpu_model: str | None, infiniband: bool) -> bool:
    """Whether the size is known to have what is asked for."""
    if with_gpus and not size.gpus:
        return False
    if gpu_model is not None and gpu_model.lower() not in (size.gpu_model or "").lower():
        return False
    return bool(size.infiniband_rails or size.infiniband_gbit_per_s) or not infiniband


def _list_columns() -> list[str]:
    from hpcai.catalog.figures import FIGURES

    figures = [figure for figure in FIGURES if not figure.startswith("price_")]
    return ["size", *figures, "usd_per_h", "region", "price_date", "profile", "notes"]


def _row(size: VmSize, asked: list[Price]) -> dict[str, Any]:
    from hpcai.catalog.figures import FIGURES
    from hpcai.catalog.profiles import profiles

    cheapest = vm_prices.lowest(size, asked)
    return {
        "size": size.name,
        **{figure: getattr(size, figure) for figure in FIGURES},
        "usd_per_h": cheapest.on_demand_usd_per_h,
        "region": cheapest.region,
        "price_date": cheapest.date,
        "profile": size.name in profiles(),
        "notes": size.notes,
    }


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    from hpcai.cli.vm_facts import infiniband, number, retires

    gpus, model = row["gpus"], re.sub(r"^(NVIDIA|AMD)( Instinct| Tesla)? ", "", row["gpu_model"] or "")
    memory = f" {number(row['gpu_memory_gib'])} GiB" if row["gpu_memory_gib"] else ""
    return {
        "size": row["size"].removeprefix("Standard_"),
        "cpus": number(row["vcpus"]),
        "gib": number(row["memory_gib"]),
        "gpus": f"{number(gpus)} x {model}{memory}" if gpus and model else number(gpus),
        "infiniband": infiniband(row["infiniband_rails"], row["infiniband_gbit_per_s"]),
        "usd_per_h": vm_prices.dollars(row["usd_per_h"]),
        "profile": "yes" if row["profile"] else None,
        "retires": retires(row["retires"], time.strftime("%Y-%m-%d")),
    }


def _at_most(rows: list[dict[str, Any]], usd_per_h: float) -> list[dict[str, Any]]:
    unknown = [row["size"] for row in rows if row["usd_per_h"] is None]
    if unknown:
        say(f"Left out, since no price is known: {', '.join(unknown)}.")
    return [row for row in rows if row["usd_per_h"] is not None and row["usd_per_h"] <= usd_per_h]


def _of_series(sizes: list[VmSize], series: str) -> list[VmSize]:
    from hpcai.errors import NotFoundError, nearest

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    names = {plain(size.series): size.series for size in sizes if size.series}
    found = [size for size in sizes if size.series and plain(size.series).startswith(plain(series))]
    if not found:
        near = nearest(plain(series), names)
        raise NotFoundError(
            f"There is no series {series!r} in the catalog.",
            allowed=f"Series: {', '.join(names.values())}.",
            next_step=f"Did you mean {names[near]!r}?" if near else None,
        )
    return found
