"""The virtual environment and its packages, kept as wheels so that a second time needs no network."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError, UnreachableError
from hpcai.files import publish, scratch_folder
from hpcai.launch import machine, toolchain
from hpcai.launch.steps import Steps

EXTRAS = ("train", "dev")
TORCH = "torch==2.13.0"
CPU_TORCH = f"{TORCH}+cpu"
DEBIANS_WHEELS = Path("/usr/share/python-wheels")
PROBE_TIMEOUT_S = 60
OFFLINE_HINT = "Check the network and pip's index setting (`pip config list`), then try again."


@dataclass(frozen=True)
class Packages:
    """Everything about one checkout's environment that pip does; `index` is another index for torch."""

    checkout: Path
    cache: Path
    steps: Steps
    index: str | None

    @property
    def venv(self) -> Path:
        return self.checkout / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def tag(self) -> str:
        """This Python in the words of wheels: cp311."""
        return f"cp{machine.python_version().replace('.', '')}"

    @property
    def constraints(self) -> Path:
        return self.checkout / "constraints.txt"

    @property
    def _index_mark(self) -> Path:
        """Says by its digest which index the environment is for."""
        return self.venv / "hpcai-torch-index"

    @property
    def index_digest(self) -> str:
        """Stands for the index in names, which must not tell a password; empty for pip's own index.

        Where no index is named, that of the environment goes on.
        """
        if self.index:
            return hashlib.sha256(self.index.encode()).hexdigest()[:8]
        return self._marked_index()

    def _marked_index(self) -> str:
        return self._index_mark.read_text(encoding="utf-8") if self._index_mark.is_file() else ""

    def venv_works(self) -> bool:
        """Whether the environment stands where it was made, for this index, with pip and this Python."""
        question = "import sys, pip; print(sys.version_info[:2], sys.prefix)"
        if not self.python.is_file() or self._marked_index() != self.index_digest:
            return False
        done = shell.run([self.python, "-c", question], timeout_s=PROBE_TIMEOUT_S, check=False)
        if done.stdout.strip() != f"{sys.version_info[:2]} {self.venv}":
            return False
        # An environment that was moved runs, but its programs name the Python of the old place.
        program = self.venv / "bin" / "pip"
        return program.is_file() and str(self.venv) in program.read_text(errors="replace")

    def make_venv(self) -> None:
        """The environment made anew, with pip in it. Raises ToolError where no pip can be had."""
        index = self.index_digest
        self._make_venv()
        self._index_mark.write_text(index, encoding="utf-8")

    def _make_venv(self) -> None:
        words: list[str | Path] = [machine.base_python(), "-m", "venv", "--clear"]
        again = "Have Python's module venv installed (Debian: apt-get install python3-venv), then try again."
        if machine.has_ensurepip():
            self.steps.run([*words, self.venv], next_step=again)
            return
        wheel = self._pip_wheel()
        self.steps.run([*words, "--without-pip", self.venv], next_step=again)
        self.steps.run([self.python, wheel / "pip", "install", "--no-index", wheel], next_step=again)

    def _pip_wheel(self) -> Path:
        """pip as one file that Python can run: Debian's own, installed or unpacked into the cache."""
        found = sorted(DEBIANS_WHEELS.glob("pip-*.whl"))
        if not found and shutil.which("apt-get"):
            root = toolchain.unpacked(self.cache, "python3-pip-whl", with_needs=False)
            found = sorted((root / DEBIANS_WHEELS.relative_to("/")).glob("pip-*.whl"))
        if not found:
            raise ToolError(
                f"{machine.base_python()} has no module 'ensurepip', so it makes environments without pip.",
                next_step="Have it installed (Debian: apt-get install python3-venv), then try again.",
            )
        return found[-1]

    def torch(self) -> str:
        """The requirement for torch: its CPU build on a machine without a GPU, where one can be had."""
        if machine.has_gpu():
            return self.default_torch
        if self.wheels(CPU_TORCH).is_dir():
            return CPU_TORCH
        if self.wheels(self.default_torch).is_dir():
            return self.default_torch
        # By the environment: an index's address may hold a password, which no argument may.
        env = {**os.environ, **({"PIP_EXTRA_INDEX_URL": self.index} if self.index else {})}
        argv: list[str | Path] = [self.python, "-m", "pip", "index", "versions", "torch"]
        done = shell.run(argv, timeout_s=PROBE_TIMEOUT_S, env=env, check=False)
        if done.status != 0:
            raise UnreachableError(
                f"pip found no index that has torch: {_last_line(done.stderr)}.", next_step=OFFLINE_HINT
            )
        # "Available versions: 2.13.0+cpu, 2.13.0, ..."; another line tells what is installed.
        line = next((line for line in done.stdout.splitlines() if line.startswith("Available")), "")
        offered = line.partition(": ")[2].split(", ")
        return CPU_TORCH if CPU_TORCH.partition("==")[2] in offered else self.default_torch

    @property
    def default_torch(self) -> str:
        """The requirement for torch as its index builds it by default, with CUDA."""
        # Another index's build has a local version, such as 2.13.0+cu126: `==` takes it, `===` does not.
        return TORCH if self.index_digest else TORCH.replace("==", "===")

    def wheels(self, torch: str) -> Path:
        """The folder that holds every wheel of the environment; it stands only when it is whole."""
        wanted = "\n".join([self.constraints.read_text(encoding="utf-8"), *self._requirements()])
        digest = hashlib.sha256(wanted.encode()).hexdigest()[:12]
        build = torch.partition("+")[2] or "default"
        if self.index_digest:
            build += f".{self.index_digest}"
        return self.cache / "wheels" / f"{self.tag}-{os.uname().machine}-{build}-{digest}"

    def fetch(self, torch: str) -> None:
        """Fills the folder of wheels from older ones and from the indexes that pip is set up with.

        The older ones stay: other checkouts install from them without a network.
        """
        target = self.wheels(torch)
        older = [one for one in target.parent.glob(f"{target.name.rpartition('-')[0]}-*") if one != target]
        with scratch_folder(target.parent) as folder:
            listed = self._requirements_file(folder, torch)
            wanted: list[str | Path] = ["-c", self.constraints, "-r", listed]
            for one in older:
                wanted += ["--find-links", one]
            self.pip(["wheel", "--wheel-dir", folder / "wheels", *wanted], next_step=OFFLINE_HINT)
            publish(folder / "wheels", target)

    def install(self, torch: str) -> None:
        """Installs from the folder of wheels, then the checkout itself so that edits count at once."""
        broken = f"Remove {self.venv} and try again."
        offline: list[str | Path] = ["--no-index", "--find-links", self.wheels(torch)]
        with scratch_folder(self.cache / "wheels") as folder:
            listed = self._requirements_file(folder, torch)
            self.pip(["install", *offline, "-c", self.constraints, "-r", listed], next_step=broken)
        self.pip(
            ["install", "--no-index", "--no-deps", "--no-build-isolation", "-e", self.checkout],
            next_step=broken,
        )

    def pinned(self, package: str) -> str:
        """NAME-VERSION of a package that the constraints pin for every Python."""
        match = re.search(rf"^{package}==(\S+)$", self.constraints.read_text(encoding="utf-8"), re.MULTILINE)
        assert match is not None, package
        return f"{package}-{match[1]}"

    def kept(self, pinned: str) -> Path:
        """The wheel of one more package in the cache, fetched the first time; `pinned` is NAME-VERSION."""
        folder = self.cache / "wheels" / pinned
        if not folder.is_dir():
            with scratch_folder(folder.parent) as new:
                requirement = pinned.replace("-", "==")
                argv: list[str | Path] = ["wheel", "--no-deps", "--wheel-dir", new / "wheel", requirement]
                self.pip(argv, next_step=OFFLINE_HINT)
                publish(new / "wheel", folder)
        return next(folder.glob("*.whl"))

    def add(self, pinned: str) -> None:
        """One more package in the environment; `pinned` is NAME-VERSION."""
        wheel = self.kept(pinned)
        again = f"Remove {wheel.parent} and try again."
        self.pip(["install", "--no-index", "--no-deps", wheel], next_step=again)

    def pip(self, argv: Sequence[str | Path], *, next_step: str) -> None:
        """One call of the environment's own pip."""
        self.steps.run([self.python, "-m", "pip", *argv], next_step=next_step)

    def _requirements(self) -> list[str]:
        return requirements((self.checkout / "pyproject.toml").read_text(encoding="utf-8"), EXTRAS)

    def _requirements_file(self, folder: Path, torch: str) -> Path:
        """What to install, as a file that only this user can read."""
        index = [f"--extra-index-url {self.index}"] if self.index else []
        file = folder / "requirements.txt"
        file.touch(mode=0o600)
        file.write_text("\n".join([*index, torch, *self._requirements()]) + "\n", encoding="utf-8")
        return file


def requirements(pyproject: str, extras: Sequence[str]) -> list[str]:
    """What pyproject.toml lists for the package and these extras.

    Python 3.10 brings no reader of TOML; the lists there are lists of Python as well.
    """
    project, _, optional = pyproject.partition("[project.optional-dependencies]")
    found = _list_named("dependencies", project)
    for extra in extras:
        found += _list_named(extra, optional)
    return found


def _list_named(name: str, toml: str) -> list[str]:
    match = re.search(rf"^{name} = (\[.*?\])$", toml, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ToolError(f"pyproject.toml has no list {name!r}.")
    value: list[str] = ast.literal_eval(match[1])
    return value


def _last_line(text: str) -> str:
    return (text.strip() or "it printed nothing").splitlines()[-1].rstrip(".")
