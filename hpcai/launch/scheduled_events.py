"""Watches Azure's Scheduled Events on a node while a job runs there, and tells the job's ranks in time.

    python -m hpcai.launch.scheduled_events FILE ATTEMPT PROGRAM [WORD...]

A notice that concerns this node becomes a line of FILE; for one that takes the node away, PROGRAM is run,
which sends the job its signal: once for each notice, whichever of its nodes reads it first. The job's script
starts this; it ends when its stdin does, at SIGTERM, or when whoever started it is gone, with status 0.
HPCAI_METADATA_URL names another service, for tests; `%n` in it stands for the node's name.
"""

from __future__ import annotations

import calendar
import http.client
import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hpcai import shell
from hpcai.errors import HpcaiError
from hpcai.launch.beside import heed_only_the_end
from hpcai.runs import jsonl

EVERY_S = 5.0
# The first answer ever may take two minutes; whoever asks again is served then.
TIMEOUT_S = 10.0
RELAY_TIMEOUT_S = 20.0
URL = "http://169.254.169.254"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
# After these the node is gone, or its memory is; at a Freeze it stands still for seconds, and goes on.
TAKES_AWAY = ("Preempt", "Terminate", "Reboot", "Redeploy")
_LARGEST_ANSWER = 1_000_000


class Notice(NamedTuple):
    """One event of the list as it stands now."""

    ident: str
    kind: str
    status: str
    resources: tuple[str, ...]
    not_before: float | None
    """UTC seconds; None: at once, or not told."""
    description: str

    @property
    def takes_away(self) -> bool:
        return self.kind in TAKES_AWAY and self.status in ("Scheduled", "Started")


def notices_of(answer: str) -> list[Notice]:
    """The events that the service lists. Raises ValueError for what is no such list."""
    document = json.loads(answer)
    events = document.get("Events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise ValueError("the answer holds no list of events")
    return [_notice(event) for event in events if isinstance(event, dict)]


def _notice(event: Mapping[str, Any]) -> Notice:
    texts = {key: str(event.get(key) or "") for key in ("EventId", "EventType", "EventStatus", "Description")}
    resources = event.get("Resources")
    return Notice(
        texts["EventId"],
        texts["EventType"],
        texts["EventStatus"],
        tuple(map(str, resources)) if isinstance(resources, list) else (),
        _instant(event.get("NotBefore")),
        texts["Description"],
    )


def _instant(text: object) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(str(text), "%a, %d %b %Y %H:%M:%S GMT")))
    except ValueError:
        return None


def mine(notices: Sequence[Notice], names: Collection[str]) -> Iterator[Notice]:
    """Those for this node: the service of a scale set lists its other machines' too."""
    known = {name.lower() for name in names if name}
    yield from (notice for notice in notices if known & {name.lower() for name in notice.resources})


class Service:
    """The metadata service of this machine; no proxy stands between."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path.rstrip("/")

    def get(self, path: str) -> str:
        """The answer. Raises OSError, HTTPException, ValueError."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", self._path + path, headers={"Metadata": "true"})
            response = connection.getresponse()
            body = response.read(_LARGEST_ANSWER)
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return body.decode(errors="replace")


class Watcher:
    """What one node has seen, and where it writes it down."""

    def __init__(self, path: Path, attempt: int, relay: Sequence[str], service: Service) -> None:
        self._path = path
        self._attempt = attempt
        self._relay = relay
        self._service = service
        self._vm = ""
        self._names = {socket.gethostname(), os.environ.get("SLURMD_NODENAME", "")}
        self._seen: set[tuple[str, str]] = set()
        self._settled: set[str] = set()
        self._state = ""

    def look(self) -> None:
        """Ask once; write down what is new, and relay what has to be."""
        try:
            self._vm = self._vm or self._service.get(NAME).strip()
            notices = notices_of(self._service.get(EVENTS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._tell_state("unreachable", why=str(error) or type(error).__name__)
            return
        self._tell_state("watching", vm=self._vm)
        for notice in mine(notices, {self._vm, *self._names}):
            if (notice.ident, notice.status) not in self._seen:
                self._seen.add((notice.ident, notice.status))
                self._write_notice(notice)
            if notice.takes_away and notice.ident not in self._settled:
                self._relay_once(notice)

    def _tell_state(self, state: str, **fields: str) -> None:
        if state != self._state:
            self._state = state
            self._write(event=state, **fields)

    def _write_notice(self, notice: Notice) -> None:
        self._write(
            event="notice",
            id=notice.ident,
            type=notice.kind,
            status=notice.status,
            not_before=notice.not_before,
            description=notice.description,
        )

    def _relay_once(self, notice: Notice) -> None:
        """Send the signal unless another node of the job does; where it fails, the next look tries again."""
        if not self._is_first(notice):
            self._settled.add(notice.ident)
            return
        try:
            shell.run(self._relay, timeout_s=RELAY_TIMEOUT_S)
        except HpcaiError as error:
            self._write(event="not_relayed", id=notice.ident, why=error.what)
            return
        self._settled.add(notice.ident)
        self._write(event="relayed", id=notice.ident, words=list(self._relay))

    def _is_first(self, notice: Notice) -> bool:
        """Making a file is exclusive, on NFS too; where none can be made, each node sends the signal."""
        mark = self._path.parent / f"{re.sub('[^A-Za-z0-9-]', '_', notice.ident)}.by"
        own = self._path.stem
        try:
            with mark.open("x", encoding="utf-8") as file:
                file.write(own)
        except FileExistsError:
            with suppress(OSError):
                return mark.read_text(encoding="utf-8") == own
        except OSError:
            pass
        return True

    def _write(self, **fields: Any) -> None:
        line = {"time": round(time.time(), 2), "attempt": self._attempt, **fields}
        # A full disk, or a run that is gone, must not keep the signal from the job.
        with suppress(HpcaiError):
            jsonl.append(self._path, line)


def run(watcher: Watcher, every_s: float) -> None:
    """Looks until stdin ends or whoever started this process is gone."""
    starter = os.getppid()
    while os.getppid() == starter:
        watcher.look()
        if select.select([0], [], [], every_s)[0] and not os.read(0, 65536):
            return


def main(words: list[str]) -> int:
    """The exit status, which is 0 however this ends."""
    heed_only_the_end()
    url = os.environ.get("HPCAI_METADATA_URL") or URL
    service = Service(url.replace("%n", os.environ.get("SLURMD_NODENAME", "")))
    run(Watcher(Path(words[0]), int(words[1]), words[2:], service), EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
