"""Notes how busy a node is while a job runs on it: one light process per node, which the job's script starts.

    python -m hpcai.launch.sampler FILE ATTEMPT [ROOT]

It ends when its stdin does, at SIGTERM, or when whoever started it is gone, and always with status 0. Nothing
that goes wrong here may reach the job: a full disk or a missing folder costs the samples of that time.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcai import __version__, shell
from hpcai.errors import HpcaiError
from hpcai.launch.beside import heed_only_the_end
from hpcai.launch.gauges import CARD_FIELDS, Card, Node, card_of, cards_of_job, of_cards, rates
from hpcai.runs import jsonl

EVERY_S = 10.0
# The first sample comes sooner: many jobs are short.
FIRST_S = 2.0
LONGEST_S = 300.0
BYTES_PER_H = 1_000_000
# Of these, what may be written at once, before lines have to wait for their room.
AHEAD_BYTES = 50_000
SHORTEST_S = 0.2
NICE = 5
_CHUNK = 65536


class Cards:
    """The graphics cards, told by one nvidia-smi that runs as long as this does."""

    def __init__(self, every_s: float, visible: str | None) -> None:
        self._visible = visible
        self._latest: dict[int, Card] = {}
        self._unread = b""
        self.missing: str | None = None
        self._program: shell.Running | None = None
        words = [f"--query-gpu={','.join(CARD_FIELDS)}", "--format=csv,noheader,nounits"]
        try:
            # Its complaints go to stdout.
            self._program = shell.start(
                ["nvidia-smi", *words, "-l", str(max(1, round(every_s)))],
                stdout=shell.PIPE,
                stderr=shell.TO_STDOUT,
            )
        except HpcaiError as error:
            self.missing = error.what
        self.fd = None if self._program is None else self._program.stdout.fileno()  # type: ignore[union-attr]

    def read(self) -> None:
        """Take in what nvidia-smi has printed; to be called when its pipe has something."""
        assert self.fd is not None
        data = os.read(self.fd, _CHUNK)
        *lines, self._unread = (self._unread + data).split(b"\n")
        strange = ""
        for line in (line.decode(errors="replace").strip() for line in lines):
            card = card_of(line)
            if card is not None:
                self._latest[card.number] = card
            elif line:
                strange = line
        if strange and self.missing is None:
            self.missing = strange[:200]
        if not data:
            self._ended()

    def _ended(self) -> None:
        assert self._program is not None
        status = self._program.wait()
        self.fd = None
        self.missing = f"nvidia-smi ended with status {status}" + (
            f": {self.missing}" if self.missing else ""
        )

    def taken(self) -> list[Card]:
        """What each of the job's cards said last, since this was asked before."""
        found = cards_of_job(self._latest.values(), self._visible)
        self._latest = {}
        return found

    def end(self) -> None:
        if self._program is not None and self.fd is not None:
            self._program.kill()
            self._program.wait()


class Sampler:
    """Everything that one node's file gets, from the first line on."""

    def __init__(self, path: Path, attempt: int, node: Node, cards: Cards, every_s: float) -> None:
        self._path = path
        self._attempt = attempt
        self._node = node
        self._cards = cards
        self._every_s = every_s
        self._cores = os.cpu_count() or 1
        self._missing: dict[str, str] = {}
        self._named: list[str] = []
        self._before, self._before_s = node.counters(), time.monotonic()
        self._pending: list[dict[str, Any]] = []
        self._begun_s, self._written_bytes = self._before_s, 0

    def begin(self) -> None:
        """Tell once what will be measured, and what cannot be."""
        if not self._node.ports:
            self._missing["infiniband"] = "this node has no port of InfiniBand"
        if not self._node.has_cgroup:
            self._missing["job_cpu_cores"] = "Slurm keeps no cgroup of this job here"
        if self._cards.missing is not None:
            self._missing["gpus"] = self._cards.missing
        self._write(
            event="started",
            hpcai=__version__,
            every_s=self._every_s,
            cores=self._cores,
            total_memory_gib=self._node.total_memory_gib(),
            infiniband_ports=self._node.port_names,
            missing=self._missing,
        )

    def sample(self) -> float:
        """Write one sample; the answer is after how many seconds the next may come."""
        cards = self._cards.taken()
        self._tell_cards(cards)
        now, now_s = self._node.counters(), time.monotonic()
        seconds = max(now_s - self._before_s, 1e-3)
        fields = {**of_cards(cards), **rates(self._before, now, seconds, self._cores), **self._node.levels()}
        self._before, self._before_s = now, now_s
        self._written_bytes += self._write(**fields)
        return pause_s(self._written_bytes, now_s - self._begun_s, self._every_s)

    def _tell_cards(self, cards: list[Card]) -> None:
        names = [f"{card.number} {card.name}" for card in cards]
        if cards and names != self._named:
            self._named = names
            memory = [card.memory_gib for card in cards]
            self._write(event="gpus", gpus=names, gpu_total_memory_gib=memory)
        elif self._cards.missing is not None and "gpus" not in self._missing:
            self._missing["gpus"] = self._cards.missing
            self._write(event="missing", missing={"gpus": self._cards.missing})

    def _write(self, **fields: Any) -> int:
        """The size of a line; one of an event that could not be written is tried again before the next."""
        line = {"time": round(time.time(), 2), "attempt": self._attempt, **fields}
        waiting = [*self._pending, line]
        self._pending = []
        for number, one in enumerate(waiting):
            try:
                jsonl.append(self._path, one)
            except HpcaiError:
                self._pending = [each for each in waiting[number:] if "event" in each]
                self._make_folder()
                break
        return len(jsonl.encode(line))

    def _make_folder(self) -> None:
        # (Never the record itself: a run that is gone stays gone.)
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)


def pause_s(written_bytes: int, elapsed_s: float, every_s: float) -> float:
    """How long to wait behind so many bytes in so long a time, so that no hour has more than its room."""
    per_s = (BYTES_PER_H - AHEAD_BYTES) / 3600
    until_room_s = (written_bytes - AHEAD_BYTES) / per_s - elapsed_s
    return max(every_s, min(LONGEST_S, until_room_s))


def run(sampler: Sampler, cards: Cards, every_s: float) -> None:
    """Samples until stdin ends or whoever started this process is gone."""
    starter = os.getppid()
    next_s = time.monotonic() + min(FIRST_S, every_s)
    sampler.begin()
    watched = [0]
    while os.getppid() == starter:
        ready = _ready([*watched, cards.fd], max(0.0, next_s - time.monotonic()))
        if 0 in ready and not os.read(0, _CHUNK):
            return
        if cards.fd in ready:
            cards.read()
        if time.monotonic() >= next_s:
            next_s = max(next_s, time.monotonic() - 1) + sampler.sample()


def _ready(descriptors: Iterable[int | None], seconds: float) -> list[int]:
    wanted = [one for one in descriptors if one is not None]
    return select.select(wanted, [], [], seconds)[0]


def _every_s(environ: Mapping[str, str]) -> float:
    try:
        return min(LONGEST_S, max(SHORTEST_S, float(environ.get("HPCAI_SAMPLES_EVERY_S") or EVERY_S)))
    except ValueError:
        return EVERY_S


def main(words: list[str]) -> int:
    """The exit status, which is 0 however this ends."""
    path, attempt = Path(words[0]), int(words[1])
    root = Path(words[2]) if len(words) > 2 else Path("/")
    heed_only_the_end()
    os.nice(NICE)
    every_s = _every_s(os.environ)
    cards = Cards(every_s, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        node = Node(root, os.environ.get("HPCAI_SCRATCH"))
        run(Sampler(path, attempt, node, cards, every_s), cards, every_s)
    finally:
        cards.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
