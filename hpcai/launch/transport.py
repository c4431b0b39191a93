"""By what network ranks really talked to each other, read from what their libraries print of it.

NCCL tells with NCCL_DEBUG=INFO, UCX with UCX_LOG_LEVEL=info, Open MPI with OMPI_MCA_btl_base_verbose=100 and
OMPI_MCA_pml_base_verbose=10, Horovod with HOROVOD_LOG_LEVEL=debug; without, they print nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Network = Literal["infiniband", "roce", "sockets", "other"]

# Libraries print this when they start: so much of a log is read, and of so many logs.
HEAD_BYTES = 2_000_000
MOST_LOGS = 8
# The one that carries the tensors first.
ORDER = ("nccl", "ucx", "openmpi", "gloo", "horovod")
_TELLING = re.compile(rb"NCCL|RCCL|UCX|bml:|select: component|Open MPI v|[Gg]loo|Using \w+ to perform")


@dataclass(frozen=True)
class Transport:
    """What one library said."""

    library: str
    network: Network | None
    """Between nodes; None where nothing tells."""
    between: tuple[str, ...] = ()
    """How, in the library's words, the most frequent first."""
    within: tuple[str, ...] = ()
    """The same inside a node."""
    version: str | None = None
    evidence: str | None = None
    """The line that tells the network."""


@dataclass
class _Found:
    """What of one library has been read so far."""

    networks: Counter[Network] = field(default_factory=Counter)
    between: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)
    evidence: dict[Network, str] = field(default_factory=dict)
    version: str | None = None
    chosen: tuple[Network, str, str] | None = None
    """What it said that it would use, before it did: network, word and line."""
    is_roce: bool = False

    def note(self, network: Network, word: str, line: str) -> None:
        self.networks[network] += 1
        self.between[word] += 1
        self.evidence.setdefault(network, line)


def read_transports(lines: Iterable[str]) -> list[Transport]:
    """What the lines of a job's ranks tell, the library that carries the tensors first."""
    found: dict[str, _Found] = {}
    for line in lines:
        for library, reader in _READERS:
            if reader(line, found.setdefault(library, _Found())):
                break
    told = (_told(library, found[library]) for library in ORDER if library in found)
    return [one for one in told if one is not None]


def _told(library: str, found: _Found) -> Transport | None:
    if not found.networks and found.chosen is not None:
        found.note(*found.chosen)
    if not (found.networks or found.within or found.between):
        return None
    # One connection on sockets holds up all the others.
    network = next((one for one in ("sockets", *found.networks) if one in found.networks), None)
    evidence = found.evidence.get(network) if network is not None else None
    if network == "infiniband" and found.is_roce:
        network = "roce"
    return Transport(library, network, _ranked(found.between), _ranked(found.within), found.version, evidence)


def _ranked(words: Counter[str]) -> tuple[str, ...]:
    return tuple(word for word, _ in words.most_common())


_NCCL_VERSION = re.compile(r"\b[NR]CCL version\s*:? (\d\S*)")
_NCCL_CHANNEL = re.compile(r"NCCL INFO Channel \S+ : \S+ -> \S+ (?:\[\w+\] )?via (.+)")
_NCCL_CHOSEN = re.compile(r"NCCL INFO Using network (.+?)\s*$")
_NCCL_LISTED = re.compile(r"NCCL INFO NET/(IB|Socket) : Using (.*)")


def _nccl(line: str, found: _Found) -> bool:
    version = _NCCL_VERSION.search(line)
    if version is not None:
        found.version = version[1]
        return True
    channel = _NCCL_CHANNEL.search(line)
    if channel is not None:
        _nccl_channel(channel[1].strip(), line, found)
        return True
    chosen = _NCCL_CHOSEN.search(line)
    if chosen is not None:
        found.chosen = (_nccl_network(chosen[1]), f"NET/{chosen[1]}", line)
        return True
    listed = _NCCL_LISTED.search(line)
    if listed is not None:
        _nccl_listed(listed[1], listed[2], line, found)
    return "NCCL" in line


def _nccl_listed(name: str, devices: str, line: str, found: _Found) -> None:
    """Releases before 2.7 say no more than this; all list sockets too, over which their ranks meet first."""
    if name == "IB":
        found.is_roce = "/RoCE" in devices and "/IB" not in devices
    if found.chosen is None or (name == "IB" and "Using network" not in found.chosen[2]):
        found.chosen = (_nccl_network(name), f"NET/{name}", line)


def _nccl_channel(via: str, line: str, found: _Found) -> None:
    words = via.split("/")
    if words[0] != "NET":
        found.within["SHM" if "shared memory" in via else "/".join(words[:2]).split(" comm ")[0]] += 1
        return
    direct = "/GDRDMA" if "GDRDMA" in via else ""
    found.note(_nccl_network(words[1]), f"NET/{words[1]}{direct}", line)


def _nccl_network(name: str) -> Network:
    if name.startswith("Socket"):
        return "sockets"
    return "infiniband" if re.match(r"IB|SHARP|UCX|NCCL RDMA", name) else "other"


_UCX_CONFIG = re.compile(
    r"UCX\s+INFO\s+(?:\S+ )??(?:(?P<scope>self|intra-node|inter-node) )?"
    r"(?:ep_cfg\[\d+\]:|cfg#\d+) \w+\((?P<lanes>[^)]*)"
)
_UCX_VERSION = re.compile(r"UCX\s+INFO\s+(?:UCP v|UCX v|Version )(\d[\d.]*)")
_UCX_FABRIC = re.compile(r"(rc|dc|ud)(_\w+|x)?/")
_UCX_LOCAL = re.compile(r"(self|sysv|posix|cma|knem|xpmem|cuda_ipc|rocm_ipc)/")


def _ucx(line: str, found: _Found) -> bool:
    version = _UCX_VERSION.search(line)
    if version is not None:
        found.version = version[1]
        return True
    config = _UCX_CONFIG.search(line)
    if config is None:
        return "UCX" in line
    lanes = config["lanes"].split()
    fabric = [lane for lane in lanes if _UCX_FABRIC.match(lane)]
    tcp = [lane for lane in lanes if lane.startswith("tcp/")]
    local = [lane for lane in lanes if _UCX_LOCAL.match(lane)]
    # Older releases do not tell which nodes; whoever shares memory is on one.
    if config["scope"] in ("self", "intra-node") or (config["scope"] is None and local):
        found.within.update(lane.partition("/")[0] for lane in local)
    elif fabric or tcp:
        network: Network = "infiniband" if fabric else "sockets"
        found.note(network, (fabric or tcp)[0], line)
    return True


_BTL_NETWORKS: dict[str, Network] = {"tcp": "sockets", "openib": "infiniband", "uct": "infiniband"}
_BTL = re.compile(r"\[([^:\]\s]+):\d+\] mca: bml: Using (\w+) btl for send to \S+ on node (\S+)")
_PML = re.compile(r"select: component (ob1|ucx|cm|yalla|bfo) selected")
_OPENMPI_VERSION = re.compile(r"Open MPI v(\d[\w.]*)")


def _openmpi(line: str, found: _Found) -> bool:
    btl = _BTL.search(line)
    if btl is not None:
        here, name, there = btl.groups()
        if here.partition(".")[0] == there.partition(".")[0]:
            found.within[f"btl {name}"] += 1
        else:
            found.note(_BTL_NETWORKS.get(name, "other"), f"btl {name}", line)
        return True
    pml = _PML.search(line)
    if pml is not None:
        # What carries it is another's matter: a btl's, or UCX's.
        found.between[f"pml {pml[1]}"] += 1
        return True
    version = _OPENMPI_VERSION.search(line)
    found.version = version[1] if version is not None else found.version
    return version is not None


_GLOO_DEVICE = re.compile(r"rendezvous started for rank=.*dev=\{(\w+), pci=[^,]*, iface=([^,]*),")
_GLOO_PEERS = re.compile(r"\[Gloo\] Rank \d+ is connected to [1-9]\d* peer ranks")


def _gloo(line: str, found: _Found) -> bool:
    device = _GLOO_DEVICE.search(line)
    if device is not None:
        found.note("sockets" if device[1] == "tcp" else "other", f"{device[1]}/{device[2]}", line)
    elif _GLOO_PEERS.search(line):
        # Only its own sockets are in PyTorch's builds.
        found.note("sockets", "tcp", line)
    return device is not None or "[Gloo]" in line


_HOROVOD = re.compile(r"Using (\w+) to perform (controller|CPU) operations")


def _horovod(line: str, found: _Found) -> bool:
    part = _HOROVOD.search(line)
    if part is not None:
        found.between[f"{part[2]} operations by {part[1]}"] += 1
    return part is not None


_READERS: tuple[tuple[str, Callable[[str, _Found], bool]], ...] = (
    ("nccl", _nccl),
    ("ucx", _ucx),
    ("openmpi", _openmpi),
    ("gloo", _gloo),
    ("horovod", _horovod),
)


def read_logs(paths: Sequence[Path]) -> list[Transport]:
    """What the beginnings of logs tell; one that cannot be read is left out."""
    return read_transports(line for path in paths[:MOST_LOGS] for line in _telling_lines(path))


def _telling_lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES)
    except OSError:
        return
    for line in data.splitlines():
        if _TELLING.search(line):
            yield line[:2000].decode(errors="replace")


def deciding(found: Sequence[Transport]) -> Transport | None:
    """The one by which the tensors went: the first that names a network."""
    return next((one for one in found if one.network is not None), None)
