"""A stand-in for Azure's Retail Prices API, written from its public description, on this machine's loopback.

From the page "Azure Retail Prices overview" (learn.microsoft.com/rest/api/cost-management/retail-prices): the
fields of an answer and of an item, `$filter` with `eq` and `and`, pages of a limited length with
`NextPageLink`, reservations whose price is that of the whole term, Spot and Low Priority as words in the
meter's name, Windows in the product's. The prices are made up. It checks what it is given: a filter that it
cannot read is answered by 400.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

FILTERS = ("serviceName", "armRegionName", "armSkuName", "priceType")


def meter(size: str, region: str, price: float, **changes: Any) -> dict[str, Any]:
    """An item as the description shows it: by default Linux on demand."""
    words = size.removeprefix("Standard_").replace("_", " ")
    item = {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": region,
        "location": "US East",
        "effectiveStartDate": "2024-05-01T00:00:00Z",
        "meterId": "000a794b-bdb0-58be-a0cd-0c3a0f222923",
        "meterName": words,
        "productId": "DZH318Z0BQPS",
        "skuId": "DZH318Z0BQPS/00TG",
        "productName": "Virtual Machines ND Series",
        "skuName": words,
        "serviceName": "Virtual Machines",
        "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": size,
    }
    return item | changes


@dataclass
class StandIn:
    """What it answers: `items` in pages, after the `failures` (status, headers, body) that come first."""

    items: list[dict[str, Any]]
    page: int = 100
    failures: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    address: str = ""
    next_page: str | None = None
    """Another address than its own for what follows."""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        query = parse_qs(urlsplit(path).query)
        told, skip = query.get("$filter", [""])[0], int(query.get("$skip", ["0"])[0])
        self.questions.append(told)
        if self.failures:
            return self.failures.pop(0)
        wanted = {}
        for part in told.split(" and "):
            found = re.fullmatch(r"(\w+) eq '([^']*)'", part)
            if found is None or found[1] not in FILTERS:
                return 400, {}, b'{"Error": {"Code": "BadRequest", "Message": "Invalid OData parameters"}}'
            wanted[found[1].replace("priceType", "type")] = found[2]
        fitting = [item for item in self.items if all(item[key] == value for key, value in wanted.items())]
        page, rest = fitting[skip : skip + self.page], fitting[skip + self.page :]
        next_page = f"{self.address}?$filter={quote(told)}&$skip={skip + self.page}" if rest else None
        content = {
            "BillingCurrency": "USD",
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": page,
            "NextPageLink": self.next_page or next_page,
            "Count": len(page),
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in answers at `address` inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = stand_in.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Nothing to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stand_in.address = f"http://127.0.0.1:{server.server_address[1]}/api/retail/prices"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
