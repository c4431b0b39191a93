"""What is known of one VM size as figures with their sources: for `hpcai vm show` and `hpcai diff`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcai.cli.output import emit_object, emit_rows, put

if TYPE_CHECKING:
    from hpcai.catalog.images import Image
    from hpcai.catalog.prices import Price
    from hpcai.catalog.profiles import Profile
    from hpcai.catalog.sizes import VmSize

UNKNOWN = "unknown"
COLUMNS = ("figure", "value", "source")


@dataclass(frozen=True)
class Fact:
    """One figure; `value` None is unknown."""

    figure: str
    value: Any
    source: str | None = None


def emit_facts(size: VmSize, prices: Sequence[Price], output: str) -> None:
    """One size in full to stdout: a table whose sources are numbered below it, rows, or one object."""
    if output in ("json", "jsonl"):
        emit_object(_as_json(size, prices), output)
        return
    facts = [*facts_of(size), *_image_facts(size), *_price_facts(prices)]
    rows = [
        {"figure": fact.figure, "value": lacking(fact.figure, fact.value), "source": fact.source}
        for fact in facts
    ]
    if output == "csv":
        emit_rows([{"figure": "size", "value": size.name}, *rows], COLUMNS, output, kind="figures")
        return
    put(size.name)
    for note in notes_of(size):
        put(f"  {note}")
    put("")
    sources: dict[str, int] = {}
    for row in rows:
        row["source"] = _numbers(row["source"], sources)
    # The longest values come last.
    emit_rows(rows, COLUMNS, output, kind="figures", shown=("figure", "source", "value"))
    put("")
    for source, number_ in sources.items():
        put(f"{number_:>3}  {source}")


def facts_of(size: VmSize) -> Iterator[Fact]:
    """The size's figures, then its run profile's and its health baseline's; those of a price are left out."""
    from hpcai.catalog.figures import FIGURES
    from hpcai.catalog.health import baseline
    from hpcai.catalog.profiles import profiles

    for figure in FIGURES:
        if not figure.startswith("price_"):
            yield Fact(figure, getattr(size, figure), size.sources.get(figure))
    profile = profiles().get(size.name)
    if profile is None:
        yield Fact("profile", None)
    else:
        yield from (Fact(f"profile.{key}", value, source) for key, value, source in _settings(profile))
    health = baseline(size.name)
    if health is None:
        yield Fact("health", None)
    else:
        for key, value in health.figures.items():
            yield Fact(f"health.{key}", value, health.sources[key])


def notes_of(size: VmSize) -> list[str]:
    """What is to be said beside the figures."""
    from hpcai.catalog.health import baseline
    from hpcai.catalog.profiles import profiles

    profile, health = profiles().get(size.name), baseline(size.name)
    notes = [note.strip() for note in size.notes.split(";") if note.strip()]
    notes += [each.notes for each in (profile, health) if each is not None and each.notes]
    if profile is not None and profile.parts:
        notes += [
            f"The profile '{size.name}+{part}' adds {', '.join(of.env)}."
            for part, of in profile.parts.items()
        ]
    return notes


def _settings(profile: Profile) -> Iterator[tuple[str, Any, str]]:
    for key in ("ntasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gib", "cpu_bind"):
        value = getattr(profile, key)
        if value is not None:
            yield key, value, profile.sources[key]
    if profile.mounts:
        yield "mounts", profile.mounts, profile.sources["mounts"]
    for name, value in profile.env.items():
        yield f"env.{name}", value, profile.sources[f"env.{name}"]


def _image_facts(size: VmSize) -> Iterator[Fact]:
    from hpcai.catalog.images import images_for

    found = images_for(size)
    if not found:
        yield Fact("images", None)
    for image in found:
        drivers = (("driver", image.nvidia_driver), ("CUDA", image.cuda), ("ROCm", image.rocm))
        parts = [
            image.urn or "no address is stated",
            *(f"{name} {value}" for name, value in drivers if value),
        ]
        yield Fact(
            f"images.{image.name}", ", ".join(parts), "; ".join(dict.fromkeys((image.sources or {}).values()))
        )


def _price_facts(prices: Sequence[Price]) -> Iterator[Fact]:
    kinds = ("on_demand", "spot", "reserved_1_year", "reserved_3_years")
    for price in prices:
        for kind in kinds:
            value = getattr(price, f"{kind}_usd_per_h")
            if kind == "spot" and value is None and price.on_demand_usd_per_h is not None:
                value = f"unknown, at most {price.on_demand_usd_per_h}"
            yield Fact(f"price.{price.region or 'any'}.{kind}_usd_per_h", value, price.source)


def _as_json(size: VmSize, prices: Sequence[Price]) -> dict[str, Any]:
    from dataclasses import asdict

    from hpcai.catalog.images import images_for

    facts = list(facts_of(size))
    return {
        "size": size.name,
        "notes": notes_of(size),
        "figures": _sourced(fact for fact in facts if not fact.figure.startswith(("profile", "health"))),
        "profile": _below(facts, "profile"),
        "health": _below(facts, "health"),
        "images": [_image_as_json(image) for image in images_for(size)],
        "prices": [asdict(price) for price in prices],
    }


def _image_as_json(image: Image) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(image)


def _below(facts: Sequence[Fact], part: str) -> dict[str, Any] | None:
    found = [fact for fact in facts if fact.figure.startswith(f"{part}.")]
    return _sourced(Fact(fact.figure.partition(".")[2], fact.value, fact.source) for fact in found) or None


def _sourced(facts: Iterator[Fact]) -> dict[str, Any]:
    return {fact.figure: {"value": fact.value, "source": fact.source} for fact in facts}


def told(value: Any) -> str:
    """A figure as a person reads it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(told, value))
    return str(number(value)) if isinstance(value, float) else str(value)


def lacking(figure: str, value: Any) -> str:
    """A figure as a person reads it; a profile, or a setting of one, that is not there is not unknown."""
    if value is None and figure.startswith("profile"):
        return "none" if figure == "profile" else "-"
    return told(value)


def number(value: float | None) -> str | None:
    """`1900`, `894.5`, and `1/6` for a part of a GPU."""
    if value is None:
        return None
    if 0 < value < 1:
        return f"1/{round(1 / value)}"
    return f"{value:g}" if value < 1e5 else str(value)


def infiniband(rails: int | None, gbit_per_s: float | None) -> str | None:
    """`8 x 400`: rails, and gigabits per second of each."""
    if rails == 0:
        return "none"
    if gbit_per_s is None:
        return None
    return f"{rails if rails is not None else '?'} x {number(gbit_per_s)}"


def retires(date: str | None, today: str) -> str | None:
    """`2027-05-31`, or `since 2025-09-30` when that day has come."""
    return f"since {date}" if date is not None and date <= today else date


def _numbers(source: str | None, seen: dict[str, int]) -> str | None:
    """The numbers of the sources, which a source that is new gets here."""
    if source is None:
        return None
    each = re.split(r"(?<=\)); ", source)
    return ",".join(str(seen.setdefault(one, len(seen) + 1)) for one in each)


def differing(left: VmSize, right: VmSize, prices: Mapping[str, Price]) -> list[tuple[str, Any, Any]]:
    """Figure, left and right of all that is not the same; what one of them lacks is None there."""
    facts = [
        {fact.figure: fact.value for fact in facts_of(size)}
        | {"price_usd_per_h": prices[size.name].on_demand_usd_per_h}
        for size in (left, right)
    ]
    figures = dict.fromkeys((*facts[0], *facts[1]))
    both = [(figure, facts[0].get(figure), facts[1].get(figure)) for figure in figures]
    return [each for each in both if each[1] != each[2]]
