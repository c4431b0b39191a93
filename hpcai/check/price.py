"""What a job would cost: nodes times the price of the VM by the hour times the time limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcai.catalog.prices import Price, load_prices, prices_of
from hpcai.catalog.sizes import VmSize, did_you_mean_size, vm_sizes
from hpcai.check.findings import Finding
from hpcai.check.sizes import SizeOfJob
from hpcai.check.told import Told
from hpcai.errors import StageError
from hpcai.slurm.limits import partitions_of
from hpcai.specs.job import JobSpec
from hpcai.units import parse_array


def check_price(
    job: JobSpec, of: SizeOfJob, told: Told, asked: Path, region: str | None
) -> Iterator[Finding]:
    """One finding: the price on demand, dated; `asked` holds what Azure was asked for."""
    size, name = of.size, of.of_nodes.name
    if size is None:
        what = "The price is not known: nobody has said which VM size the nodes are."
        fix = "Name it in profile, or under partitions: in a config file."
        if name is not None:
            what = f"The price is not known: {name}, by {of.of_nodes.how}, is not in the catalog."
            fix = did_you_mean_size(name, vm_sizes()) or "hpcai vm list  # A file of your own can add it."
        yield Finding("price-unknown", "note", "profile", what, fix)
        return
    price = _price(size, asked, region)
    if price is None or price.on_demand_usd_per_h is None:
        where = f" in {region}" if region else ""
        what = f"No price of {size.name} is known{where}."
        yield Finding("price-unknown", "note", "profile", what, f"hpcai vm prices {size.name} --refresh")
        return
    yield Finding("price", "ok", "price", _in_words(job, size, price, told))


def _price(size: VmSize, asked: Path, region: str | None) -> Price | None:
    try:
        known: Sequence[Price] = load_prices(asked)
    except StageError:
        known = ()
    found = prices_of(size, known, region) or prices_of(size, known)
    return min(found, key=lambda one: one.on_demand_usd_per_h or float("inf"), default=None)


def _in_words(job: JobSpec, size: VmSize, price: Price, told: Told) -> str:
    assert price.on_demand_usd_per_h is not None
    tasks = len(parse_array(job.array)[0]) if job.array is not None else 1
    hourly = job.nodes * price.on_demand_usd_per_h
    where = f"{price.region}, {price.date}" if price.region else str(price.date or "undated")
    each = "" if job.nodes == 1 else f"{job.nodes} x "
    base = f"{each}{size.name}: ${hourly:,.2f} an hour on demand ({where})"
    limit_s = job.time_min * 60 if job.time_min else _partition_limit(job, told)
    times = f"{tasks} tasks of the array: " if tasks > 1 else ""
    if limit_s is None:
        return f"{base}; without a time limit nothing says how much in all."
    total = hourly * limit_s / 3600 * tasks
    said = "for" if job.time_min else "for the partition's"
    return f"{base}; {times}at most ${total:,.2f} {said} {_hours(limit_s)}."


def _hours(limit_s: int) -> str:
    return f"{limit_s / 3600:g} h" if limit_s % 360 == 0 else f"{limit_s / 60:.0f} min"


def _partition_limit(job: JobSpec, told: Told) -> int | None:
    limits = [one.default_time_s or one.max_time_s for one in partitions_of(job, told.partitions or ())]
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None
