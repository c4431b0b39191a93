"""What a node tells of itself, when a small task is run on it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.check import places
from hpcai.check.enroot import is_standin, settings_of
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.specs.settings import VERSION
from hpcai.units import about_bytes

# Where Azure's nodes have their own disk, as cyclecloud-slurm and the images name it.
SCRATCH = ("/mnt/nvme", "/nvme", "/mnt/resource", "/mnt")

# Only built-ins and what every Linux has; each line is `name=value`, and what is not there prints nothing.
_SCRIPT = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
azure=http://169.254.169.254/metadata/instance/compute
ask() { curl -sf -m 2 --noproxy '*' -H Metadata:true "$azure/$1?api-version=2021-02-01&format=text"; }
if command -v curl >/dev/null; then
  size=$(ask vmSize) && say vm_size "$size" && say region "$(ask location)" && say priority "$(ask priority)"
fi
say host "$(uname -n)"
say kernel "$(uname -r)"
say cpus "$(nproc --all 2>/dev/null)"
say memory_kib "$(awk '/MemTotal/ {print $2}' /proc/meminfo)"
for gpu in /dev/nvidia[0-9]*; do [ -c "$gpu" ] && say gpu "$gpu"; done
# Those of AMD have no device of their own name; 0x1002 is AMD's number.
for gpu in "${HPCAI_SYS:-/sys}"/class/drm/renderD*; do
  [ "$(cat "$gpu/device/vendor" 2>/dev/null)" = 0x1002 ] && say gpu "/dev/dri/${gpu##*/}"
done
say nvidia_container "$(command -v nvidia-container-cli)"
if command -v enroot >/dev/null; then
  say enroot "$(enroot version 2>/dev/null || echo unknown)"
fi
# As enroot reads its files: of a key that stands twice, the first counts.
runtime=/run/enroot cache=${XDG_CACHE_HOME:-$HOME/.cache}/enroot
data=${XDG_DATA_HOME:-$HOME/.local/share}/enroot
[ -z "$XDG_RUNTIME_DIR" ] || runtime=$XDG_RUNTIME_DIR/enroot
conf=${ENROOT_SYSCONF_PATH:-/etc/enroot}/enroot.conf seen=' '
for file in "$conf" "$conf.d"/*.conf; do
  [ -r "$file" ] && while IFS=$' \t=' read -r key value; do
    case $key$seen in ENROOT_*" $key "* | [!E]*) continue ;; esac
    case $key in ENROOT_[A-Z]*) say enroot_conf "$key $value" && seen="$seen$key " ;; esac
    case $key in
      ENROOT_RUNTIME_PATH) runtime=$(eval "echo $value" 2>/dev/null) ;;
      ENROOT_CACHE_PATH) cache=$(eval "echo $value" 2>/dev/null) ;;
      ENROOT_DATA_PATH) data=$(eval "echo $value" 2>/dev/null) ;;
    esac
  done <"$file"
done
# The folder above is made at boot, with room for everybody; the user's own comes with the first container.
for path in "$runtime" "$cache" "$data"; do
  folder=$path
  while [ -n "$folder" ] && [ ! -e "$folder" ]; do folder=${folder%/*}; done
  [ -w "${folder:-/}" ] || say enroot_closed "$path"
done
say enroot_data "$data"
say enroot_runtime "$runtime"
[ -e /etc/apparmor.d/enroot ] && say enroot_apparmor yes
for name in user/max_user_namespaces kernel/unprivileged_userns_clone \
    kernel/apparmor_restrict_unprivileged_userns; do
  [ -r "/proc/sys/$name" ] && say "sysctl.${name##*/}" "$(cat "/proc/sys/$name")"
done
if unshare -U true 2>/dev/null; then say userns yes; else say userns no; fi
for port in "${HPCAI_SYS:-/sys}"/class/infiniband/*/ports/*; do
  [ -r "$port/state" ] || continue
  device=${port%/ports/*}
  say port "${device##*/} $(cat "$port/state") $(cat "$port/rate") $(cat "$port/link_layer" 2>/dev/null)"
done
say launch_address "$SLURM_LAUNCH_NODE_IPADDR"
say own_address "$(getent hosts "$(uname -n)" | awk 'NR == 1 {print $1}')"
if command -v srun >/dev/null; then
  say mpi "$(srun --mpi=list 2>&1 | grep -Eo 'none|pmi2|pmix' | sort -u | tr '\n' ' ')"
fi
while read -r source target kind _; do say mounted "$source $target $kind"; done </proc/self/mounts
hold() { [ -d "$1" ] && [ -w "$1" ] && say scratch "$1 $(df -Pk "$1" | awk 'NR == 2 {print $4}')"; }
"""


@dataclass(frozen=True)
class Probe:
    """What one node said, by name; a name may come several times."""

    lines: Sequence[tuple[str, str]]

    def one(self, name: str) -> str | None:
        """The value, None where the node said none."""
        return next((value for key, value in self.lines if key == name and value), None)

    def every(self, name: str) -> list[str]:
        return [value for key, value in self.lines if key == name]

    @property
    def shared(self) -> dict[str, str]:
        """Target -> source of the mounts that the node says it has."""
        found = {}
        for line in self.every("mounted"):
            source, target, _ = line.rsplit(" ", 2)
            found[target.replace("\\040", " ")] = source
        return found

    @property
    def ports(self) -> list[str]:
        """The ports of InfiniBand; others of the same maker, such as Azure's own network, are Ethernet."""
        return [line for line in self.every("port") if not line.endswith(" Ethernet")]

    @property
    def is_spot(self) -> bool:
        """Whether Azure may take the node away; `Low` is what Spot was called in scale sets."""
        return self.one("priority") in ("Spot", "Low")

    @property
    def scratch(self) -> str | None:
        """The first folder of the node's own that can be written."""
        found = self.every("scratch")
        return found[0].rpartition(" ")[0] if found else None


def script(interpreter: Path, runs_root: Path, scratch: str | None) -> str:
    """The text that a node's bash runs."""
    wanted = [scratch.replace("%n", "$SLURMD_NODENAME")] if scratch else list(SCRATCH)
    lines = [_SCRIPT]
    lines += [f'hold "{folder}"' if "$" in folder else f"hold {shlex.quote(folder)}" for folder in wanted]
    python = shlex.quote(str(interpreter))
    asked = "import hpcai; print(hpcai.__version__)"
    lines.append(
        f"if [ -x {python} ]; then say hpcai \"$({python} -c '{asked}' 2>/dev/null || echo none)\"; fi"
    )
    root = shlex.quote(str(places.existing(runs_root)))
    lines.append(f"if [ -w {root} ]; then say runs yes; else say runs no; fi")
    lines.append("say end yes")
    return "\n".join(lines) + "\n"


def probe_of(text: str) -> Probe:
    """What `script` printed. Raises ValueError for what is cut off."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
    found = Probe([(name, value) for name, _, value in pairs])
    if found.one("end") is None:
        raise ValueError("it did not end")
    return found


def check_probe(probe: Probe, node: str, around: Surroundings) -> Iterator[Finding]:
    """Findings about a node."""
    where = f"node {node}"
    yield Finding("node", "ok", where, _in_words(probe))
    yield from _enroot(probe, where, around)
    yield from _folders(probe, where, around)
    down = [line for line in probe.ports if " 4: ACTIVE" not in line]
    if down:
        what = f"Not active: {'; '.join(down)}."
        yield Finding("fabric-down", "warning", where, what, "ibstat on the node tells more.")


def _in_words(probe: Probe) -> str:
    memory_gib = int(probe.one("memory_kib") or 0) / 2**20
    parts = [
        probe.one("vm_size") or "no machine of Azure",
        f"{probe.one('cpus')} CPUs, {memory_gib:.0f} GiB, {len(probe.every('gpu'))} GPUs",
        f"{len(probe.ports)} InfiniBand ports",
        *(["Spot"] if probe.is_spot else []),
        f"Enroot {probe.one('enroot')}" if probe.one("enroot") else "no Enroot",
    ]
    parts += [f"{what} in {folder}" for what, folder in enroot_folders(probe)]
    held = probe.every("scratch")
    if held:
        folder, _, free_kib = held[0].rpartition(" ")
        parts.append(f"{about_bytes(int(free_kib) * 1024)} free in {folder}")
    return "; ".join(parts) + "."


def enroot_folders(probe: Probe) -> Iterator[tuple[str, str]]:
    """What Enroot keeps on a node, and where; nothing where there is none."""
    data, runtime = probe.one("enroot_data"), probe.one("enroot_runtime")
    if probe.one("enroot") and data and runtime:
        yield "images", data
        yield "running containers", runtime


def _enroot(probe: Probe, where: str, around: Surroundings) -> Iterator[Finding]:
    if not around.told.srun_takes_containers:
        return
    if probe.one("enroot") is None:
        what = "srun takes containers here, and the node has no enroot on slurmd's PATH."
        yield Finding("enroot-missing", "error", where, what, "Ask who runs this cluster to install Enroot.")
        return
    refused = _no_namespaces(probe)
    if refused:
        fix = "sysctl user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns govern it."
        yield Finding("no-user-namespaces", "error", where, refused, fix)
    has_nvidia = any(gpu.startswith("/dev/nvidia") for gpu in probe.every("gpu"))
    if has_nvidia and probe.one("nvidia_container") is None:
        what = "The node has GPUs and no nvidia-container-cli: no image would be shown them."
        fix = "Ask who runs this cluster for libnvidia-container-tools."
        yield Finding("gpu-tools-missing", "warning", where, what, fix)
    settings = settings_of("\n".join(probe.every("enroot_conf")))
    data = settings.get("ENROOT_DATA_PATH")
    if settings and (data is None or "HOME" in data or data.startswith(_shared(probe))):
        what = f"Enroot unpacks images to {data or 'the home folder'!r}: a quota or a share is in the way."
        fix = "ENROOT_DATA_PATH in enroot.conf should name the node's own disk."
        yield Finding("enroot-data-on-share", "warning", where, what, fix)
    closed = probe.every("enroot_closed")
    # The embedded cluster's stand-in for Enroot has its folders elsewhere.
    if closed and not is_standin(around.environ):
        what = (
            f"Enroot can neither write nor make {' and '.join(map(repr, closed))} there: Permission denied."
        )
        fix = "Ask who runs this cluster for a folder of mode 1777 there, also after a restart."
        yield Finding("enroot-runtime-closed", "error", where, what, fix)


def _shared(probe: Probe) -> tuple[str, ...]:
    kinds = [line.rsplit(" ", 2) for line in probe.every("mounted")]
    return tuple(
        f"{target.rstrip('/')}/" for _, target, kind in kinds if re.match("nfs|lustre|cifs|beegfs", kind)
    )


def _no_namespaces(probe: Probe) -> str | None:
    if probe.one("sysctl.max_user_namespaces") == "0":
        return "The kernel allows no user namespaces (user.max_user_namespaces is 0)."
    if probe.one("sysctl.unprivileged_userns_clone") == "0":
        return "Users may make no namespaces (kernel.unprivileged_userns_clone is 0)."
    # Enroot's package brings a profile that allows namespaces to Enroot, if to nobody else.
    if probe.one("userns") == "no" and probe.one("enroot_apparmor") is None:
        armor = probe.one("sysctl.apparmor_restrict_unprivileged_userns") == "1"
        return f"A user namespace was refused{', by AppArmor' if armor else ''}."
    return None


def _folders(probe: Probe, where: str, around: Surroundings) -> Iterator[Finding]:
    import sys

    python = probe.one("hpcai")
    if python in (None, "none"):
        lack = f"has no {sys.executable}" if python is None else f"has {sys.executable}, without hpcai"
        what = f"The node {lack}: staging and our own trainer call it."
        fix = "Install hpcai into an environment on a folder that all nodes see."
        yield Finding("interpreter-not-on-node", "warning", where, what, fix)
    if probe.one("runs") == "no":
        what = f"The node cannot write {str(around.site.runs_root)!r}, where records are kept: it keeps none."
        fix = "export HPCAI_RUNS_ROOT=FOLDER names a shared one."
        yield Finding("runs-not-on-node", "warning", where, what, fix)
    if probe.scratch is None:
        tried = around.site.scratch or ", ".join(SCRATCH)
        what = f"The node has no scratch that can be written ({tried})."
        fix = "export HPCAI_SCRATCH=FOLDER names a folder on the nodes' own disks."
        yield Finding("scratch-missing", "error", where, what, fix)


def facts_of(probes: Mapping[str, Probe]) -> dict[str, str]:
    """What nodes tell that settings can keep: scratch, region, enroot_version, where all agree."""
    wanted = {"region": "region", "enroot_version": "enroot"}
    found = {}
    for key, name in wanted.items():
        values = {probe.one(name) for probe in probes.values()}
        if len(values) == 1 and (value := values.pop()) is not None:
            found[key] = value
    if "region" in found:
        found["region"] = re.sub("[^a-z0-9]", "", found["region"].lower())
    version = VERSION.match(found.pop("enroot_version", ""))
    if version:
        found["enroot_version"] = version[0]
    scratch = {probe.scratch for probe in probes.values()}
    if len(scratch) == 1 and (folder := scratch.pop()) in SCRATCH:
        found["scratch"] = str(folder)
    return found
