"""Prices that are known: the table's, those that were asked for, and how they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpcai.catalog.prices import Price, load_prices, of_table, prices_of, save_prices
from hpcai.catalog.sizes import vm_size
from hpcai.errors import StageError

HB = vm_size("HB176rs_v4")
TODAY = Price(HB.name, "eastus", 7.0, 2.5, 5.0, 4.0, "2026-11-21", "asked")
WEST = Price(HB.name, "westeurope", 9.0, date="2026-11-21", source="asked")


def test_the_tables_price_is_labelled_with_region_date_and_source() -> None:
    price = of_table(HB)
    assert (price.on_demand_usd_per_h, price.region, price.date) == (7.2, "eastus", "2026-06-18")
    assert price.source is not None and "karpenter" in price.source
    assert (price.spot_usd_per_h, price.spot_at_most_usd_per_h) == (None, 7.2)


def test_what_was_asked_for_replaces_the_table_and_adds_regions() -> None:
    assert prices_of(HB, [TODAY, WEST]) == [TODAY, WEST]
    assert prices_of(HB, [WEST]) == [of_table(HB), WEST]
    assert prices_of(HB, [TODAY, WEST], "westeurope") == [WEST]
    assert prices_of(HB, [TODAY], "westeurope") == []
    assert prices_of(HB, [replace(TODAY, vm_size="Standard_Other")]) == [of_table(HB)]


def test_an_older_answer_does_not_replace_a_newer_table() -> None:
    assert prices_of(HB, [replace(TODAY, date="2026-01-01")]) == [of_table(HB)]


def test_the_users_own_price_holds_everywhere() -> None:
    own = replace(HB, price_usd_per_h=1.0, price_region=None, price_date=None)
    for region in (None, "eastus", "anywhere"):
        assert [price.on_demand_usd_per_h for price in prices_of(own, [TODAY, WEST], region)] == [1.0]


def test_a_size_without_a_price_has_one_that_knows_nothing() -> None:
    [price] = prices_of(vm_size("ND24rs"), [])
    assert (price.on_demand_usd_per_h, price.spot_at_most_usd_per_h, price.region) == (None, None, None)


def test_prices_are_kept_and_replaced_by_region(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prices.json"
    assert load_prices(path) == []
    save_prices(path, [TODAY, WEST], replaced={HB.name: None})
    assert load_prices(path) == [TODAY, WEST]
    # Asked for again in one region, where there is none any more.
    save_prices(path, [], replaced={HB.name: "eastus"})
    assert load_prices(path) == [WEST]
    save_prices(path, [TODAY], replaced={HB.name: None})
    assert load_prices(path) == [TODAY]
    assert [file.name for file in path.parent.iterdir()] == ["prices.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema_version": 2, "prices": []}',
        '{"schema_version": 1, "prices": [{"vm_size": "x", "dollars": 1}]}',
        '{"schema_version": 1, "prices": [{"vm_size": "x", "on_demand_usd_per_h": "1"}]}',
        '{"schema_version": 1, "prices": [{"vm_size": 7}]}',
        '{"schema_version": 1, "prices": [{"vm_size": "x", "on_demand_usd_per_h": Infinity}]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_told_and_replaced_by_the_next_answer(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(StageError, match="are damaged"):
        load_prices(path)
    save_prices(path, [TODAY], replaced={HB.name: "eastus"})
    assert json.loads(path.read_text())["schema_version"] == 1
    assert load_prices(path) == [TODAY]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="The prices cannot be kept in"):
        save_prices(tmp_path / "file" / "prices.json", [TODAY], replaced={})
