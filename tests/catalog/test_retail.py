"""Azure's price list, asked at a stand-in on loopback: what is read, what is refused, what is tried again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from hpcai.catalog.prices import Price
from hpcai.catalog.retail import ask_prices, read_items
from hpcai.errors import ToolError, UnreachableError, UsageError
from tests.catalog.retail_stand_in import StandIn, meter, serving

H100, HB = "Standard_ND96isr_H100_v5", "Standard_HB176rs_v4"
ITEMS = [
    meter(H100, "eastus", 98.32),
    meter(H100, "eastus", 196.0, productName="Virtual Machines ND Series Windows"),
    meter(H100, "eastus", 30.5, skuName="ND96isr H100 v5 Spot", meterName="ND96isr H100 v5 Spot"),
    meter(H100, "eastus", 20.0, skuName="ND96isr H100 v5 Low Priority", meterName="x Low Priority"),
    meter(H100, "eastus", 549_252.0, type="Reservation", reservationTerm="1 Year"),
    meter(H100, "eastus", 1_150_000.0, type="Reservation", reservationTerm="3 Years"),
    meter(H100, "eastus", 50.0, type="DevTestConsumption"),
    meter(H100, "westeurope", 120.0),
    meter(HB, "eastus", 7.2),
    meter("Standard_Nobody_v1", "eastus", 1.0),
]


@pytest.fixture
def list_() -> Iterator[StandIn]:
    with serving(StandIn(ITEMS)) as stand_in:
        yield stand_in


def ask(
    stand_in: StandIn, sizes: list[str] | None, region: str | None, said: list[str] | None = None
) -> list[Price]:
    waits: list[float] = []
    return ask_prices(
        sizes,
        region,
        [H100, HB],
        endpoint=stand_in.address,
        say=(said if said is not None else []).append,
        sleep=waits.append,
    )


def test_on_demand_spot_and_reservations_by_the_hour(list_: StandIn) -> None:
    [price] = ask(list_, [H100], "eastus")
    assert (price.vm_size, price.region) == (H100, "eastus")
    assert (price.on_demand_usd_per_h, price.spot_usd_per_h) == (98.32, 30.5)
    # A reservation's price is that of its term of 8,760 or 26,280 hours.
    assert price.reserved_1_year_usd_per_h == pytest.approx(62.7, abs=1e-6)
    assert price.reserved_3_years_usd_per_h == pytest.approx(1_150_000 / 26_280, abs=1e-6)
    assert price.date is not None and price.date > "2026"
    assert list_.questions == [
        "serviceName eq 'Virtual Machines' and armRegionName eq 'eastus' and armSkuName eq '" + H100 + "'"
    ]


def test_all_sizes_of_a_region_and_all_regions_of_a_size(list_: StandIn) -> None:
    assert {(price.vm_size, price.region) for price in ask(list_, None, "eastus")} == {
        (H100, "eastus"),
        (HB, "eastus"),
    }
    assert {price.region for price in ask(list_, [H100], None)} == {"eastus", "westeurope"}
    assert ask(list_, [HB], "westeurope") == []


def test_pages_are_followed_to_the_last(list_: StandIn) -> None:
    list_.page = 1
    said: list[str] = []
    found = ask(list_, None, "eastus", said)
    assert {price.vm_size: price.on_demand_usd_per_h for price in found} == {H100: 98.32, HB: 7.2}
    assert len(list_.questions) == 9
    list_.items = [*ITEMS, *ITEMS]
    ask(list_, None, "eastus", said)
    assert said == ["Azure's price list: page 10."]


def test_the_spot_price_is_unknown_where_there_is_no_meter_for_it(list_: StandIn) -> None:
    [price] = ask(list_, [HB], "eastus")
    assert (price.spot_usd_per_h, price.spot_at_most_usd_per_h) == (None, 7.2)


BUSY = (429, {"Retry-After": "7"}, b"")


def test_a_busy_price_list_is_asked_again_after_the_pause_it_asks_for(list_: StandIn) -> None:
    list_.failures = [BUSY, (503, {}, b""), BUSY]
    said: list[str] = []
    waits: list[float] = []
    found = ask_prices([HB], "eastus", [HB], endpoint=list_.address, say=said.append, sleep=waits.append)
    assert [price.on_demand_usd_per_h for price in found] == [7.2]
    assert [7 <= wait_s <= 7 + 8 for wait_s in waits] == [True, False, True]
    assert len(said) == 3
    assert "is busy (status 429). Try 2 of 5 in" in said[0]


def test_a_price_list_that_stays_busy_is_given_up(list_: StandIn) -> None:
    list_.failures = [(429, {"Retry-After": "86400"}, b"")] * 9
    waits: list[float] = []
    with pytest.raises(UnreachableError, match="is busy"):
        ask_prices([HB], "eastus", [HB], endpoint=list_.address, say=lambda _: None, sleep=waits.append)
    assert len(list_.questions) == 5
    assert all(wait_s <= 60 + 16 for wait_s in waits)


def test_nothing_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        stand_in = StandIn([], address=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        said: list[str] = []
        with pytest.raises(UnreachableError, match="does not answer") as raised:
            ask(stand_in, [HB], "eastus", said)
    assert (raised.value.exit_status, len(said)) == (6, 2)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((200, {}, b"<html>"), "it is no JSON"),
        ((200, {}, b"[1]"), "it is no map"),
        ((200, {}, b"{}"), "it has no list of items"),
        ((200, {}, b'{"Items": [], "NextPageLink": 7}'), "it has no list of items"),
        (
            (200, {}, b'{"Items": [{"armSkuName": "hb176rs_v4"}], "NextPageLink": null}'),
            "it has an item that is none",
        ),
        ((200, {}, b'{"Items": [7], "NextPageLink": null}'), "it has an item that is none"),
        ((200, {}, b"[" * 100_000), "it is no JSON"),
        (
            (400, {}, b'{"Error": {"Code": "BadRequest", "Message": "Invalid \\u001b parameters."}}'),
            "refused the question (status 400): Invalid ? parameters.",
        ),
        ((400, {}, b'{"Error": 7}'), "refused the question (status 400)."),
        ((400, {}, b""), "refused the question (status 400)"),
        ((302, {"Location": "https://elsewhere.example/"}, b""), "refused the question (status 302)"),
    ],
)
def test_an_answer_that_cannot_be_read(
    list_: StandIn, failure: tuple[int, dict[str, str], bytes], message: str
) -> None:
    list_.failures = [failure]
    with pytest.raises(ToolError) as raised:
        ask(list_, [HB], "eastus")
    assert message in str(raised.value)
    assert (raised.value.exit_status, len(list_.questions)) == (4, 1)


def test_an_answer_that_is_cut_off_is_asked_for_again(list_: StandIn) -> None:
    list_.failures = [(200, {"Content-Length": "900"}, b'{"Items": [')]
    said: list[str] = []
    assert [price.on_demand_usd_per_h for price in ask(list_, [HB], "eastus", said)] == [7.2]
    assert "was cut off on its way. Try 2 of 3 in" in said[0]


def test_the_next_page_is_never_at_another_place(list_: StandIn) -> None:
    list_.next_page = "http://127.0.0.1:1/api/retail/prices"
    with pytest.raises(ToolError, match="which is another place"):
        ask(list_, [HB], "eastus")


def test_pages_that_do_not_end_are_given_up(list_: StandIn) -> None:
    list_.next_page = f"{list_.address}?$skip=1&$filter=serviceName%20eq%20%27x%27"
    with pytest.raises(ToolError, match="its pages do not end"):
        ask(list_, [HB], "eastus")


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("http://prices.example/api", "eastus"),
        ("ftp://127.0.0.1/", "eastus"),
        ("prices", "eastus"),
        ("https://", "eastus"),
        ("https://prices.example/api?key=1", "eastus"),
        ("https://me:secret@prices.example/api", "eastus"),
        ("https://prices.example/api", "East US"),
        ("https://prices.example/api", "x' or 'a' eq 'a"),
    ],
)
def test_what_no_question_can_be_made_of(endpoint: str, region: str) -> None:
    with pytest.raises(UsageError) as raised:
        ask_prices([HB], region, [HB], endpoint=endpoint, say=print)
    assert "secret" not in str(raised.value)


def read(*items: dict[str, Any]) -> list[float | None]:
    found = read_items(items, [HB], date="2026-11-21", source="x")
    return [price.on_demand_usd_per_h for price in found]


def test_of_several_meters_the_primary_and_then_the_newest_that_has_begun_counts() -> None:
    old, new, later = (f"{date}T00:00:00Z" for date in ("2024-01-01", "2026-01-01", "2027-01-01"))
    meters = [
        meter(HB, "eastus", 1.0, effectiveStartDate=old),
        meter(HB, "eastus", 2.0, effectiveStartDate=new),
        meter(HB, "eastus", 3.0, effectiveStartDate=later),
        meter(HB, "eastus", 4.0, effectiveStartDate=new, isPrimaryMeterRegion=False),
    ]
    assert read(*meters) == read(*meters[::-1]) == [2.0]


@pytest.mark.parametrize(
    "other",
    [
        {"currencyCode": "EUR"},
        {"productName": "Virtual Machines HBv4 Series Cloud Services"},
        {"unitOfMeasure": "1/Month"},
        {"retailPrice": 0.0},
        {"retailPrice": float("inf")},
        {"retailPrice": float("nan")},
        {"armRegionName": None},
        {"armRegionName": "\x1b[31mred"},
        {"tierMinimumUnits": 100.0},
        {"effectiveEndDate": "2026-11-20T23:59:59Z"},
        {"type": "Reservation", "reservationTerm": "5 Years"},
        {"type": "Reservation"},
    ],
)
def test_what_is_no_hour_of_a_linux_vm_in_dollars_is_left_out(other: dict[str, Any]) -> None:
    assert read(meter(HB, "eastus", 1.0, **other)) == []


def test_a_size_is_known_in_any_case() -> None:
    assert read(meter("standard_hb176RS_v4", "eastus", 1.0)) == [1.0]
