"""What a node tells of its own use: processors, memory, disks, networks and graphics cards, each as numbers.

All but the cards is read from /proc and /sys, below a `root` that a test may choose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

# Devices of the kernel's own, which no job writes to beside the disk beneath them.
_NO_DISK = re.compile(r"(loop|ram|zram|dm-|md|sr|fd)\d*")
# The kernel's word for the kind of a network card: InfiniBand is 32.
_IS_ETHERNET = "1"
_SECTOR_BYTES = 512
_WORD_BYTES = 4
_GIB = 2**30
# The order of what nvidia-smi is asked for.
CARD_FIELDS = ("index", "uuid", "name", "memory.total", "utilization.gpu", "memory.used", "power.draw")


class Card(NamedTuple):
    """One graphics card as nvidia-smi sees it at one instant; None is what it does not tell."""

    number: int
    uuid: str
    name: str
    memory_gib: float | None
    busy_percent: float | None
    used_gib: float | None
    power_w: float | None


def card_of(line: str) -> Card | None:
    """What a line of nvidia-smi's CSV says; None for any other line."""
    words = [word.strip() for word in line.split(",")]
    if len(words) != len(CARD_FIELDS) or not words[0].isdigit():
        return None
    total, busy, used, power = map(_number, words[3:])
    return Card(int(words[0]), words[1], words[2], _mib_as_gib(total), busy, _mib_as_gib(used), power)


def _number(word: str) -> float | None:
    # [N/A], [Not Supported], [Unknown Error]
    try:
        return float(word)
    except ValueError:
        return None


def _mib_as_gib(mib: float | None) -> float | None:
    return None if mib is None else round(mib / 1024, 2)


def cards_of_job(cards: Iterable[Card], visible: str | None) -> list[Card]:
    """The job's own cards by CUDA_VISIBLE_DEVICES; all, where nvidia-smi sees no more than these."""
    found = sorted(cards)
    names = [] if visible is None else [name for name in visible.split(",") if name]
    if not names or len(found) <= len(names):
        return found
    chosen = [card for card in found if str(card.number) in names or card.uuid in names]
    return chosen or found


class Counters(NamedTuple):
    """What only ever grows; a rate is the difference of two of these over the time between."""

    cpu_busy: int
    cpu_total: int
    job_cpu_us: int | None
    infiniband_in: tuple[int | None, ...]
    infiniband_out: tuple[int | None, ...]
    ethernet_in: int
    ethernet_out: int
    disk_read: int
    disk_written: int


class Node:
    """The places on this node that are read again and again, found once."""

    def __init__(self, root: Path = Path("/"), scratch: str | None = None) -> None:
        self._root = root
        self._scratch = scratch or None
        self.ports = tuple(_infiniband_ports(root / "sys/class/infiniband"))
        self._ethernet = frozenset(_ethernet_cards(root / "sys/class/net"))
        self._cgroup = _cgroup_of_job(root)
        self.has_cgroup = bool(self._cgroup)

    @property
    def port_names(self) -> list[str]:
        """The InfiniBand ports, by their devices: `mlx5_ib0`, with the port's number where it is not 1."""
        pairs = ((port.parent.parent.name, port.name) for port in self.ports)
        return [device if number == "1" else f"{device}:{number}" for device, number in pairs]

    def counters(self) -> Counters:
        """Everything that grows, as it is now."""
        busy, total = _cpu(self._read("proc/stat"))
        written, read = _disks(self._read("proc/diskstats"))
        into, out = _ethernet(self._read("proc/net/dev"), self._ethernet)
        return Counters(
            busy,
            total,
            self._job_cpu_us(),
            tuple(_words(port / "counters/port_rcv_data") for port in self.ports),
            tuple(_words(port / "counters/port_xmit_data") for port in self.ports),
            into,
            out,
            read,
            written,
        )

    def levels(self) -> dict[str, float]:
        """What rises and falls: memory, and how full the scratch is."""
        found = {}
        memory = _memory(self._read("proc/meminfo"))
        if memory is not None:
            found["memory_gib"] = memory
        of_job = self._of_job("memory.current", "memory.usage_in_bytes")
        if of_job is not None:
            found["job_memory_gib"] = round(of_job / _GIB, 2)
        full = self._scratch_percent()
        if full is not None:
            found["scratch_full_percent"] = full
        return found

    def total_memory_gib(self) -> float | None:
        """What the node has."""
        kib = _meminfo(self._read("proc/meminfo")).get("MemTotal")
        return None if kib is None else round(kib * 1024 / _GIB, 1)

    def _scratch_percent(self) -> float | None:
        if self._scratch is None:
            return None
        try:
            found = os.statvfs(self._scratch)
        except OSError:
            return None
        return round(100 * (1 - found.f_bavail / found.f_blocks), 1) if found.f_blocks else None

    def _job_cpu_us(self) -> int | None:
        for folder in self._cgroup:
            whole = re.search(r"^usage_usec (\d+)", _text(folder / "cpu.stat"), re.MULTILINE)
            if whole is not None:
                return int(whole[1])
            nanoseconds = _text(folder / "cpuacct.usage").strip()
            if nanoseconds.isdigit():
                return int(nanoseconds) // 1000
        return None

    def _of_job(self, *names: str) -> int | None:
        for folder in self._cgroup:
            for name in names:
                text = _text(folder / name).strip()
                if text.isdigit():
                    return int(text)
        return None

    def _read(self, name: str) -> str:
        return _text(self._root / name)


def rates(before: Counters, now: Counters, seconds: float, cores: int) -> dict[str, object]:
    """What happened between the two, per second; a counter that fell has begun anew and tells nothing."""
    found: dict[str, object] = {}
    if now.cpu_total > before.cpu_total:
        busy = 100 * (now.cpu_busy - before.cpu_busy) / (now.cpu_total - before.cpu_total)
        found["cpu_percent"] = round(min(100.0, max(0.0, busy)), 1)
    if now.job_cpu_us is not None and before.job_cpu_us is not None and now.job_cpu_us >= before.job_cpu_us:
        used = (now.job_cpu_us - before.job_cpu_us) / 1e6 / seconds
        found["job_cpu_cores"] = round(min(used, float(cores)), 2)
    for name in ("infiniband_in", "infiniband_out"):
        pairs = list(zip(getattr(before, name), getattr(now, name), strict=True))
        if pairs:
            found[f"{name}_gb_per_s"] = [_gb_per_s(one, other, seconds) for one, other in pairs]
    for name in ("ethernet_in", "ethernet_out", "disk_read", "disk_written"):
        rate = _gb_per_s(getattr(before, name), getattr(now, name), seconds)
        if rate is not None:
            found[f"{name}_gb_per_s"] = rate
    return found


def of_cards(cards: Iterable[Card]) -> dict[str, object]:
    """The cards' numbers, one list per gauge in the order of the cards; {} where there are none."""
    found = list(cards)
    if not found:
        return {}
    return {
        "gpu_busy_percent": [card.busy_percent for card in found],
        "gpu_memory_gib": [card.used_gib for card in found],
        "gpu_power_w": [card.power_w for card in found],
    }


def _gb_per_s(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None or now < before:
        return None
    rate = (now - before) / 1e9 / seconds
    return float(f"{rate:.3g}")


def _infiniband_ports(folder: Path) -> Iterator[Path]:
    """Ports whose link is InfiniBand; cards that carry Ethernet by the same driver stand there too."""
    for device in sorted(_entries(folder), key=_natural):
        for port in sorted(_entries(device / "ports"), key=_natural):
            if _text(port / "link_layer").strip() == "InfiniBand":
                yield port


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(word) if word.isdigit() else 0, word) for word in re.split(r"(\d+)", path.name)]


def _words(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) * _WORD_BYTES if text.isdigit() else None


def _cpu(text: str) -> tuple[int, int]:
    """Busy and all ticks of all cores together; waiting for a disk is not busy."""
    words = text.partition("\n")[0].split()[1:9]
    ticks = [int(word) for word in words if word.isdigit()]
    if len(ticks) < 5:
        return 0, 0
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _meminfo(text: str) -> Mapping[str, int]:
    return {found[1]: int(found[2]) for found in re.finditer(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def _memory(text: str) -> float | None:
    found = _meminfo(text)
    if "MemTotal" not in found or "MemAvailable" not in found:
        return None
    return round((found["MemTotal"] - found["MemAvailable"]) * 1024 / _GIB, 2)


def _disks(text: str) -> tuple[int, int]:
    """Bytes written and read of whole disks."""
    written = read = 0
    last = ""
    for words in map(str.split, text.splitlines()):
        if len(words) < 10 or _NO_DISK.fullmatch(words[2]):
            continue
        # A disk stands before its parts.
        if last and re.fullmatch(re.escape(last) + r"p?\d+", words[2]):
            continue
        last = words[2]
        read += int(words[5]) * _SECTOR_BYTES
        written += int(words[9]) * _SECTOR_BYTES
    return written, read


def _ethernet_cards(folder: Path) -> Iterator[str]:
    """The names of cards; one that another leads, as Azure's accelerated networking does, counts there."""
    for card in _entries(folder):
        is_own = (card / "device").exists() and not (card / "master").exists()
        if is_own and _text(card / "type").strip() == _IS_ETHERNET:
            yield card.name


def _ethernet(text: str, cards: Collection[str]) -> tuple[int, int]:
    into = out = 0
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) >= 9 and name.strip() in cards:
            into += int(words[0])
            out += int(words[8])
    return into, out


def _cgroup_of_job(root: Path) -> tuple[Path, ...]:
    """The folders in which the kernel counts for the whole job: that above the step's, by controller."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        of_job = re.match(r"(.*/job_\d+)(/|$)", path)
        if of_job is None:
            continue
        names = [""] if not controllers else [*controllers.split(","), controllers]
        folders = [root / "sys/fs/cgroup" / name / of_job[1].lstrip("/") for name in names]
        found += [folder for folder in folders if folder.is_dir()]
    return tuple(dict.fromkeys(found))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    """The file's text; nothing where it cannot be read, as when a device has gone."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a third of the time
            return file.read().decode(errors="replace")
    except OSError:
        return ""
