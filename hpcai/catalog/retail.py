"""Azure's public Retail Prices API: the prices of Linux VMs, page by page. No account is needed for it."""

from __future__ import annotations

import http.client
import json
import math
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hpcai.catalog.figures import bare
from hpcai.catalog.prices import Price
from hpcai.errors import HpcaiError, ToolError, UnreachableError, UsageError

ENDPOINT = "https://prices.azure.com/api/retail/prices"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ATTEMPTS = 5
# A service that does not answer at all is more likely out of reach than busy.
_ATTEMPTS_WITHOUT_ANSWER = 3
_LONGEST_WAIT_S = 60.0
_TIMEOUT_S = 30
_MOST_PAGES = 2000
_MOST_BYTES = 64 * 2**20
_REGION = "[a-z0-9]+"
_TERM_HOURS = {"1 Year": 365 * 24, "3 Years": 3 * 365 * 24}
_FIELDS = {"1 Year": "reserved_1_year_usd_per_h", "3 Years": "reserved_3_years_usd_per_h"}

_WITHOUT = "Without --refresh the prices known so far are told."

Sleep = Callable[[float], None]
Say = Callable[[str], object]


def ask_prices(
    sizes: Iterable[str] | None,
    region: str | None,
    known: Iterable[str],
    *,
    endpoint: str = ENDPOINT,
    say: Say,
    sleep: Sleep = time.sleep,
) -> list[Price]:
    """Today's prices of `sizes` (None: of all) in `region` (None: in all), for the `known` sizes alone.

    Raises UsageError for an endpoint or region that is none, UnreachableError, ToolError for a refusal or an
    answer that cannot be read.
    """
    _check(endpoint, region)
    names = list(known)
    items: list[Mapping[str, Any]] = []
    for size in [None] if sizes is None else sizes:
        url = f"{endpoint}?{urlencode({'$filter': _filter(size, region)}, quote_via=quote)}"
        for page in _pages(url, endpoint, say, sleep):
            items += page
    date = time.strftime("%Y-%m-%d", time.gmtime())
    source = f"Azure Retail Prices API, {endpoint} ({date})"
    return read_items(items, names, date=date, source=source)


def read_items(
    items: Iterable[Mapping[str, Any]], known: Iterable[str], *, date: str, source: str
) -> list[Price]:
    """The prices in the API's items: Linux, in US dollars, without Low Priority and DevTest.

    Of several meters for the same thing that have begun, the primary and then the newest counts. Raises
    ToolError for an item that is none.
    """
    names = {bare(name): name for name in known}
    found: dict[tuple[str, str], Price] = {}
    ranks: dict[tuple[str, str, str], tuple[bool, str]] = {}
    for item in items:
        try:
            name = names.get(bare(str(item.get("armSkuName"))))
            read = _read_item(item, date) if name is not None else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(f"it has an item that is none ({error!r})") from error
        if name is None or read is None:
            continue
        region, field, usd_per_h, rank = read
        if ranks.get((name, region, field), (False, "")) <= rank:
            ranks[name, region, field] = rank
            before = found.get((name, region), Price(name, region=region, date=date, source=source))
            change: dict[str, Any] = {field: usd_per_h}
            found[name, region] = replace(before, **change)
    return list(found.values())


def _read_item(item: Mapping[str, Any], date: str) -> tuple[str, str, float, tuple[bool, str]] | None:
    """Region, field of Price, dollars per hour and rank of a meter; None for one that is not wanted."""
    kind, words = item["type"], f"{item['skuName']} {item['meterName']}"
    begins, price = str(item["effectiveStartDate"])[:10], float(item["retailPrice"])
    if _is_other(item, words) or not _is_valid(item, begins, date) or not 0 < price < math.inf:
        return None
    if kind == "Consumption" and item["unitOfMeasure"] == "1 Hour":
        field = "spot_usd_per_h" if "Spot" in words else "on_demand_usd_per_h"
    elif kind == "Reservation" and item.get("reservationTerm") in _FIELDS:
        field = _FIELDS[item["reservationTerm"]]
        price = round(price / _TERM_HOURS[item["reservationTerm"]], 6)
    else:
        return None
    return str(item["armRegionName"]), field, price, (bool(item.get("isPrimaryMeterRegion")), begins)


def _is_other(item: Mapping[str, Any], words: str) -> bool:
    """Whether it is a price of something else than a Linux VM in a region, in other money, or of many."""
    if re.search("windows|cloud ?services", item["productName"], re.IGNORECASE) or "Low Priority" in words:
        return True
    if re.fullmatch(_REGION, str(item["armRegionName"])) is None:
        return True
    return item["currencyCode"] != "USD" or float(item.get("tierMinimumUnits", 0)) > 0


def _is_valid(item: Mapping[str, Any], begins: str, date: str) -> bool:
    return begins <= date and date <= str(item.get("effectiveEndDate") or date)[:10]


def _check(endpoint: str, region: str | None) -> None:
    url = urlsplit(endpoint)
    is_https = url.scheme == "https" and url.hostname is not None
    is_here = url.scheme == "http" and url.hostname in _LOOPBACK
    if not (is_https or is_here) or url.query or url.fragment or url.username is not None:
        raise UsageError(
            "HPCAI_PRICES_URL is no address of a price list.",
            allowed="It is an https address, or http on this machine, without '?', '#' and a password.",
        )
    if region is not None and not re.fullmatch(_REGION, region):
        raise UsageError(f"Got the region {region!r}.", allowed="Write it as Azure does, such as 'eastus2'.")


def _filter(size: str | None, region: str | None) -> str:
    parts = ["serviceName eq 'Virtual Machines'"]
    if region is not None:
        parts.append(f"armRegionName eq '{region}'")
    if size is not None:
        parts.append(f"armSkuName eq '{size}'")
    return " and ".join(parts)


def _pages(url: str, endpoint: str, say: Say, sleep: Sleep) -> Iterator[list[Mapping[str, Any]]]:
    seen: set[str] = set()
    next_url: str | None = url
    while next_url:
        if next_url in seen or len(seen) >= _MOST_PAGES:
            raise _unreadable("its pages do not end")
        if _origin(next_url) != _origin(endpoint):
            raise _unreadable(f"it goes on at {next_url!r}, which is another place")
        seen.add(next_url)
        if len(seen) % 10 == 0:
            say(f"Azure's price list: page {len(seen)}.")
        page = _patiently(next_url, say, sleep)
        items, next_url = page.get("Items"), page.get("NextPageLink")
        if not isinstance(items, list) or not isinstance(next_url, str | None):
            raise _unreadable("it has no list of items")
        yield items


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)


class BusyError(UnreachableError):
    """The service asks for a pause of `wait_s`, or does not answer."""

    def __init__(self, what: str, *, attempts: int, wait_s: float = 0.0) -> None:
        super().__init__(what, next_step=_WITHOUT)
        self.attempts = attempts
        self.wait_s = min(wait_s, _LONGEST_WAIT_S)


def _patiently(url: str, say: Say, sleep: Sleep) -> Mapping[str, Any]:
    """One page, asked for again while the service is busy: bounded, and said."""
    attempt = 1
    while True:
        try:
            return _page(url)
        except BusyError as error:
            if attempt >= error.attempts:
                raise
            wait_s = error.wait_s + random.uniform(0, 0.5 * 2**attempt)
            attempt += 1
            say(f"{error.what} Try {attempt} of {error.attempts} in {wait_s:.1f} s.")
            sleep(wait_s)


def _page(url: str) -> Mapping[str, Any]:
    host = urlsplit(url).netloc
    try:
        with _opener(url).open(url, timeout=_TIMEOUT_S) as answer:
            body = answer.read(_MOST_BYTES + 1)
            is_cut_off = len(body) <= _MOST_BYTES and bool(answer.length)
    except urllib.error.HTTPError as error:
        with error:
            raise _of_status(error, host) from error
    except (OSError, http.client.HTTPException) as error:
        raise _of_silence(error, host) from error
    if is_cut_off:
        what = f"The answer of Azure's price list at {host} was cut off on its way."
        raise BusyError(what, attempts=_ATTEMPTS_WITHOUT_ANSWER)
    if len(body) > _MOST_BYTES:
        raise _unreadable("it is longer than any price list")
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unreadable("it is no JSON") from error
    if not isinstance(page, dict):
        raise _unreadable("it is no map")
    return page


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Nowhere: prices come from the address that was named."""


def _opener(url: str) -> urllib.request.OpenerDirector:
    # A proxy is for the world outside, not for this machine.
    own = [urllib.request.ProxyHandler({})] if urlsplit(url).hostname in _LOOPBACK else []
    return urllib.request.build_opener(_StayHere, *own)


def _of_status(error: urllib.error.HTTPError, host: str) -> HpcaiError:
    if error.code == 429 or error.code >= 500:
        asked = error.headers.get("Retry-After", "")
        wait_s = float(asked) if re.fullmatch(r"\d{1,6}", asked) else 0.0
        what = f"Azure's price list at {host} is busy (status {error.code})."
        return BusyError(what, attempts=_ATTEMPTS, wait_s=wait_s)
    what = f"Azure's price list at {host} refused the question (status {error.code}){_reason(error)}."
    return ToolError(what, next_step=_WITHOUT)


def _reason(error: urllib.error.HTTPError) -> str:
    """The service's own words, as its description has them: {"Error": {"Code": ..., "Message": ...}}."""
    try:
        said = str(json.loads(error.read(2**16))["Error"]["Message"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {re.sub('[^ -~]', '?', said)[:300].rstrip('.')}"


def _of_silence(error: Exception, host: str) -> HpcaiError:
    why = getattr(error, "reason", None) or error
    if isinstance(why, ssl.SSLCertVerificationError):
        return ToolError(
            f"The certificate of Azure's price list at {host} is not trusted: {why.verify_message}."
        )
    what = f"Azure's price list at {host} does not answer ({why})."
    return BusyError(what, attempts=_ATTEMPTS_WITHOUT_ANSWER)


def _unreadable(why: str) -> ToolError:
    return ToolError(
        f"The answer of Azure's price list cannot be read: {why}.",
        next_step=_WITHOUT,
    )
