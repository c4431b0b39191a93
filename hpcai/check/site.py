"""Whether this site is ready for jobs: Slurm, scratch, the runs folder, storage, the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.catalog.profiles import profiles
from hpcai.catalog.sizes import did_you_mean_size, find_name, vm_sizes
from hpcai.check import paths, places
from hpcai.check.fidelity import assertions_of
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.nodes import Probed, ask_nodes
from hpcai.check.site_file import Facts, facts_of_site
from hpcai.check.slurm_itself import slurm_as_a_whole, without_plugin
from hpcai.check.storage import check_storage
from hpcai.check.told import Told, ask
from hpcai.errors import SlurmError, UnreachableError, did_you_mean
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.plugstack import pyxis_options, pyxis_version
from hpcai.slurm.vm_size import SizeOfNodes, size_of
from hpcai.specs.site import Site
from hpcai.units import format_duration

# Without accounting, Slurm forgets an ended job after MinJobAge; what ended it must be read before.
_SHORT_MEMORY_S = 300
# Nobody waits for a job here: a busy slurmctld may take its time.
SITE_DEADLINE_S = 30.0


@dataclass(frozen=True)
class SiteLook:
    """What was found of a site, and the facts that other commands can use."""

    findings: list[Finding]
    facts: Facts
    is_silent: bool = False
    """Whether Slurm did not answer."""


def check_site(
    site: Site, client: SlurmClient, *, environ: Mapping[str, str], on_nodes: bool = False
) -> SiteLook:
    """What is there and what is missing, part by part; `on_nodes` runs a small task on some nodes."""
    told = ask(client, SITE_DEADLINE_S)
    away = told.errors.get("partitions") or told.errors.get("nodes") or told.errors.get("config")
    if away is not None or told.partitions is None or told.nodes is None:
        words = away or SlurmError("Slurm told of no partition.")
        slurm = Finding("slurm", "error", "slurm", words.what, words.next_step)
        plugin = list(without_plugin("slurm", [words]))
        rest = check_without_slurm(site, environ=environ)
        return SiteLook([*(plugin or [slurm]), *rest], Facts(), isinstance(words, UnreachableError))
    around = Surroundings(site, environ, Path(), told)
    found = [*_slurm(told), *slurm_as_a_whole(told, is_there=True)]
    found += [*_partitions(told.partitions, told.nodes, site), *_unheeded(told.partitions, site)]
    found.append(_pyxis(told, environ))
    probed = Probed()
    if on_nodes:
        probed = ask_nodes(client, around)
        found += probed.findings
    found += _shared_folders(around)
    found += check_without_slurm(site, told.nodes, environ=environ)
    if around.sight.away():
        found += assertions_of(around, probed.probes)
        found += [] if on_nodes else [_nodes_unseen()]
    return SiteLook(found, facts_of_site(around, probed.probes))


def _nodes_unseen() -> Finding:
    what = "No task was run on a node: what is there was not looked at."
    return Finding("nodes-unseen", "note", "nodes", what, "hpcai check --nodes")


def check_without_slurm(
    site: Site, nodes: Sequence[NodeInfo] = (), *, environ: Mapping[str, str]
) -> list[Finding]:
    """What can be seen of a site without a word from Slurm; `nodes` are those that it has told of."""
    found: list[Finding] = []
    sight = places.Sight(nodes, site.shared_folders)
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "scratch": lambda: places.scratch(site.scratch, nodes),
        places.RUNS: lambda: _runs_folder(site.runs_root, sight),
        "interpreter": lambda: _interpreter(sight),
    }
    found += paths.in_time(looks, paths.ANSWERS_WITHIN_S)
    found.append(check_storage(site, environ))
    return found


def _slurm(told: Told) -> Iterator[Finding]:
    config = told.config or {}
    version, name = config.get("SLURM_VERSION", "?"), config.get("ClusterName", "?")
    yield Finding("slurm", "ok", "slurm", f"Slurm {version} answers (cluster {name!r}).")
    limits = [f"{key} {config[key]}" for key in ("MaxArraySize", "MaxJobCount") if key in config]
    if limits:
        yield Finding("limits", "ok", "limits", f"{', '.join(limits)}.")
    memory_s = int(config.get("MinJobAge", "300").partition(" ")[0])
    if config.get("AccountingStorageType", "").endswith("/none") and memory_s < _SHORT_MEMORY_S:
        yield Finding(
            "slurm-forgets",
            "warning",
            "slurm",
            f"Accounting is off, and Slurm forgets a job {memory_s} s after its end (MinJobAge).",
            "How a job ended is then known only to who looks in time: raise MinJobAge in slurm.conf.",
        )


def _partitions(
    partitions: Sequence[PartitionInfo], nodes: Sequence[NodeInfo], site: Site
) -> Iterator[Finding]:
    if not partitions:
        what = "There is no partition that you may see."
        yield Finding("no-partitions", "error", "partitions", what, "sinfo -a lists all.")
    for partition in partitions:
        names = set(partition.node_names)
        members = [node for node in nodes if node.name in names]
        away = [node for node in members if node.is_down or "DRAIN" in node.flags]
        yield Finding(
            "partition",
            "warning" if members and len(away) == len(members) else "ok",
            f"partition {partition.name}",
            _partition(partition, members, away, site),
            "sinfo -R  # tells why nodes are away" if away else None,
        )


def _unheeded(partitions: Sequence[PartitionInfo], site: Site) -> Iterator[Finding]:
    """A warning for each setting about a partition or a VM size that there is not."""
    names, sizes = [one.name for one in partitions], vm_sizes()
    for key, said in (("partitions", site.partitions), ("spot_partitions", site.spot_partitions)):
        place = site.settings.origins.get(key, key)
        for name in said:
            if name not in names:
                what = f"{place} names a partition {name!r}, which this Slurm has not, or not for you."
                fix = did_you_mean(name, names) or f"The partitions are: {', '.join(names)}."
                yield Finding("setting-unheeded", "warning", f"{key}.{name}", what, fix)
    for name, size in site.partitions.items():
        if find_name(size, sizes) is None:
            place = site.settings.origins.get("partitions", "partitions")
            what = f"{place} says {size!r} of {name!r}, and there is no such VM size in the catalog."
            fix = did_you_mean_size(size, sizes) or "hpcai vm list"
            yield Finding("setting-unheeded", "warning", f"partitions.{name}", what, fix)


def _partition(
    partition: PartitionInfo, nodes: Sequence[NodeInfo], away: Sequence[NodeInfo], site: Site
) -> str:
    parts = [f"{partition.total_nodes} nodes" + (f" ({len(away)} down or drained)" if away else "")]
    if nodes:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
        parts.append(
            f"up to {largest.cpus} CPUs, {largest.gpus} GPUs, {largest.memory_mib / 1024:.0f} GiB each"
        )
    longest = partition.max_time_s
    parts.append(f"time limit {format_duration(longest)}" if longest is not None else "no time limit")
    if partition.is_default:
        parts.append("the default")
    return f"{', '.join(parts)}{_size_in_words(size_of(partition.name, site.partitions, nodes))}."


def _size_in_words(found: SizeOfNodes) -> str:
    """What is to be added to what is said of a partition."""
    if found.name is None:
        return f"; its nodes look like {' or '.join(found.names[:4])}" if found.names else ""
    size = vm_sizes().get(found.name)
    rails = size.infiniband_rails if size is not None else None
    gbit_per_s = size.infiniband_gbit_per_s if size is not None else None
    fabric = f", InfiniBand {rails} x {gbit_per_s:g} Gb/s" if rails and gbit_per_s else ""
    profile = "run profile" if found.name in profiles() else "no run profile"
    return f"; {found.name} by {found.how}{fabric}, {profile}"


def _pyxis(told: Told, environ: Mapping[str, str]) -> Finding:
    plugin = pyxis_options(environ).get("plugin")
    if told.srun_takes_containers:
        has = "srun and sbatch have" if told.sbatch_takes_containers else "srun has"
        parts = [f"{has} --container-image{f' ({plugin})' if plugin else ''}", *_release(told, environ)]
        return Finding("pyxis", "ok", "pyxis", f"{'; '.join(parts)}.")
    if told.srun_takes_containers is None:
        what = "Whether srun takes containers is not known: srun --help did not work."
        return Finding("pyxis", "note", "pyxis", what, "srun --help | grep container-image  # tells")
    named = f", though plugstack.conf names {plugin!r}" if plugin else ""
    what = f"srun has no --container-image{named}: a job with container: is refused here."
    fix = "Ask who runs this Slurm for Pyxis and Enroot if you need containers."
    return Finding("pyxis", "note", "pyxis", what, fix)


def _release(told: Told, environ: Mapping[str, str]) -> Iterator[str]:
    """Which Pyxis it is, and where it unpacks images, as far as files of this machine tell."""
    exact = pyxis_version(environ)
    judged = {"0.24": "Pyxis 0.24 or later", "0.19": "Pyxis before 0.20"}
    if exact is not None:
        yield f"Pyxis {exact}"
    elif told.pyxis_release in judged:
        yield judged[told.pyxis_release]
    place = pyxis_options(environ).get("runtime_path")
    if place is not None:
        yield f"images go to {place} of a node"


def _shared_folders(around: Surroundings) -> Iterator[Finding]:
    """What every node has, by the settings or by what this machine has mounted; nodes here need nothing."""
    if not around.sight.away():
        return
    told = around.site.shared_folders
    if told:
        what = f"{', '.join(told)}, as the settings say."
        yield Finding("shared-folders", "ok", "shared folders", what)
        return
    here = ", ".join(f"{target} ({source})" for target, source in places.shared_mounts().items())
    what = f"By what is mounted here, nodes see {here or 'nothing of this machine'}."
    fix = "Say shared_folders in a config file, or let hpcai check --nodes --write find out."
    yield Finding("shared-folders", "note", "shared folders", what, fix)


def _runs_folder(root: Path, sight: places.Sight) -> Iterator[Finding]:
    refused = places.refuses_writing(root)
    shared = None if refused else _seen(places.RUNS, places.existing(root), sight)
    yield refused or shared or Finding("runs-folder", "ok", places.RUNS, f"{root} can be written.")


def _interpreter(sight: places.Sight) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    path = Path(sys.executable)
    shared = _seen("interpreter", path, sight)
    yield shared or Finding("interpreter", "ok", "interpreter", f"{path} (Python {version}).")


def _seen(where: str, path: Path, sight: places.Sight) -> Finding | None:
    only_here = sight.only_here(path)
    return (
        Finding("folder-not-on-nodes", "warning", where, only_here, sight.show(path)) if only_here else None
    )
