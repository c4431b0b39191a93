"""Containers on an embedded cluster: the stand-in for Pyxis and Enroot, compiled for the cluster's Slurm.

Its source is in `standin/`. docs/fidelity.md says what it shows, and what a real site must still show.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError, UsageError
from hpcai.files import locked, publish, scratch_folder
from hpcai.slurm.local.apt import Apt
from hpcai.slurm.local.prefix import Prefix

# CycleCloud's Slurm (cyclecloud-slurm 4.0.9) brings 0.21 with Enroot 4.0.
DEFAULT_VERSION = "0.21"
VERSIONS = ("0.20", "0.21", "0.22", "0.23", "0.24")
PLUGIN = "spank_pyxis_standin.so"
SOURCE = Path(__file__).parent / "standin"
COMPILE_TIMEOUT_S = 120
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-shared", "-Wall", "-Wno-format-truncation", "-Wl,-Bsymbolic")
SQUASHFS = ("unsquashfs", "mksquashfs")
# What CycleCloud writes into enroot.conf.
_SETTINGS = "enroot_version=4.0 rootfs_writable=1 mount_home=1 remap_root=0"


def is_made(cache: Path) -> bool:
    """Whether `ensure` needs nothing from the network but, perhaps, Slurm's headers."""
    return _tools_on_path() or (cache.absolute() / "tools" / "squashfs-tools").is_dir()


def ensure(cache: Path, prefix: Prefix) -> Path:
    """The folder that holds the plugin for this Slurm, `unsquashfs`, `mksquashfs` and an `enroot`.

    Raises ToolError where there is no C compiler, UnreachableError when something cannot be fetched.
    """
    cache = cache.absolute()
    target = cache / "pyxis-standin" / f"{prefix.version()}-{_digest(prefix)}"
    with locked(cache / "pyxis-standin" / ".lock"):
        if not target.is_dir():
            with scratch_folder(target.parent) as folder:
                made = folder / "made"
                made.mkdir()
                _compile(cache, _headers(prefix, folder), made / PLUGIN)
                for name, program in _squashfs(cache, folder).items():
                    (made / name).symlink_to(program)
                shutil.copy(SOURCE / "enroot", made / "enroot")
                (made / "enroot").chmod(0o755)
                publish(made, target)
    return target


def _digest(prefix: Prefix) -> str:
    """Of everything that the plugin is made from."""
    parts = [file.read_bytes() for file in sorted(SOURCE.iterdir()) if file.is_file()]
    parts.append((prefix.root / "prefix.json").read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _compile(cache: Path, headers: Path, plugin: Path) -> None:
    sources = sorted(SOURCE.glob("*.c"))
    program = compiler(cache)
    argv: list[str | Path] = [program, *FLAGS, f"-I{headers}", "-o", plugin, *sources]
    environ = dict(os.environ)
    if Path(program).is_relative_to(_unpacked_compiler(cache)):
        # It loads libraries that the machine lacks.
        environ["LD_LIBRARY_PATH"] = str(_unpacked_compiler(cache) / "lib")
    done = shell.run(argv, timeout_s=COMPILE_TIMEOUT_S, env=environ, check=False)
    if done.status != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["it gave no reason"]
        raise ToolError(f"The stand-in for Pyxis could not be compiled: {lines[0].strip().rstrip('.')}.")


def compiler(cache: Path) -> str:
    """A C compiler: $CC, one on PATH, or the one that Horovod's set-up has unpacked into the cache."""
    unpacked = str(_unpacked_compiler(cache) / "bin" / "gcc")
    for name in (os.environ.get("CC") or "cc", "gcc", "clang", unpacked):
        found = shutil.which(name)
        if found is not None:
            return found
    raise ToolError(
        "Containers on the embedded cluster need a C compiler, and this machine has none.",
        allowed="It is looked for as $CC, cc, gcc and clang.",
        next_step="Have one installed (Debian: apt-get install gcc libc6-dev), then try again.",
    )


def _unpacked_compiler(cache: Path) -> Path:
    return cache / "debian" / "g++" / "compiler"


def _headers(prefix: Prefix, folder: Path) -> Path:
    """The folder below which `slurm/spank.h` of this very Slurm lies."""
    beside = prefix.root / "include"
    if (beside / "slurm" / "spank.h").is_file():
        return beside
    root = folder / "headers"
    packages = Apt(folder / "apt-headers", own_lists=False).unpack(["libslurm-dev"], root)
    if not any(f"_{prefix.version()}-" in name for name in packages):
        raise ToolError(
            f"The headers of Slurm {prefix.version()} are not to be had here: apt has {', '.join(packages)}.",
            next_step=f"Remove {str(prefix.root)!r}: Slurm is then fetched anew.",
        )
    return root / "usr" / "include"


def _tools_on_path() -> bool:
    return all(shutil.which(name) for name in SQUASHFS)


def _squashfs(cache: Path, folder: Path) -> dict[str, Path]:
    """The programs that read and write .sqsh files: this machine's, else those of a package in the cache."""
    if _tools_on_path():
        return {name: Path(str(shutil.which(name))) for name in SQUASHFS}
    target = cache / "tools" / "squashfs-tools"
    if not target.is_dir():
        made = folder / "squashfs-tools"
        made.mkdir()
        source = Apt(folder / "apt-squashfs", own_lists=False)
        source.unpack(source.closure(["squashfs-tools"]), made / "unpacked")
        for name in SQUASHFS:
            _write_program(made, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(made, target)
    return {name: target / name for name in SQUASHFS}


def _write_program(made: Path, name: str) -> None:
    """A program that starts an unpacked one with the loader and the libraries that came with it."""
    loader = next(file for file in (made / "unpacked").rglob("ld-linux*.so.*") if file.is_file())
    libraries = {file.parent for file in (made / "unpacked").rglob("*.so.*")}
    inside = [f"$here/{path.relative_to(made)}" for path in (loader, *sorted(libraries))]
    text = '#!/bin/sh\nhere=$(readlink -f -- "$0")\nhere=${here%/*}\n'
    text += (
        f'exec "{inside[0]}" --library-path "{":".join(inside[1:])}" "$here/unpacked/usr/bin/{name}" "$@"\n'
    )
    (made / name).write_text(text, encoding="utf-8")
    (made / name).chmod(0o755)


def plugstack_conf(home: Path, version: str) -> str:
    """plugstack.conf: the plugin, and what stands in for plugstack.conf and enroot.conf of a site.

    Each node keeps its containers in a folder of its own. Two places of this cluster are always shown inside:
    on a real node, where every machine has a /dev/shm of its own, nothing of the kind is needed.
    """
    words = [f"required {home}/pyxis/{PLUGIN}", f"pyxis_version={version}", _SETTINGS]
    words += [f"data={home}/containers/%n", f"registry={home}/registry", f"tools={home}/pyxis"]
    words += [f"show={home}/task-prolog", f"show={home}/tmp/%n"]
    return " ".join(words) + "\n"


def make_removable(folder: Path) -> None:
    """Opens folders that an image or the kernel closed even to their owner, so that they can be deleted."""
    for path, names, _ in os.walk(folder):
        for name in names:
            inner = Path(path, name)
            if not inner.is_symlink():
                inner.chmod(0o700)


# What may stand against user namespaces, and how an administrator allows them.
_CAUSES = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def require(version: str) -> None:
    """Raises UsageError for a version that cannot be played, ToolError where no container can run at all."""
    if version not in VERSIONS:
        raise UsageError(f"Pyxis {version!r} cannot be played.", allowed=f"It may be {', '.join(VERSIONS)}.")
    require_namespaces()


def require_namespaces() -> None:
    """Raises ToolError, with what refuses and what would allow it, when this user may make no namespaces."""
    done = shell.run(["unshare", "--user", "--map-root-user", "--mount", "true"], timeout_s=30, check=False)
    if done.status == 0:
        return
    words = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1].rstrip(".")
    for path, value, allowing in _CAUSES:
        if _setting(path) == value:
            name = allowing.partition("=")[0]
            raise ToolError(
                f"Containers need user namespaces, which {name}={value} refuses: {words}.",
                next_step=f"sudo sysctl -w {allowing}",
            )
    raise ToolError(
        f"Containers need user namespaces, and this machine refuses them: {words}.",
        allowed="A container engine's seccomp filter does so; --security-opt seccomp=unconfined lifts it.",
    )


def _setting(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
