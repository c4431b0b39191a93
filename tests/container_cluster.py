"""Fixtures for tests that run tasks in images: a small image of this machine's programs, and a cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcai.errors import ToolError
from hpcai.slurm.local import cluster as embedded
from hpcai.slurm.local import pyxis
from hpcai.specs.site import cache_dir
from tests.real_cluster import sweep_left_over

PROGRAMS = (
    "bash",
    "sh",
    "cat",
    "env",
    "id",
    "ls",
    "mkdir",
    "sleep",
    "touch",
    "readlink",
    "stat",
    "head",
    "mount",
    "rm",
)
VARIABLES = "FROM_IMAGE=image\nSHARED_VAR=image\n# a comment\n"
# As Enroot writes it from an image's configuration: the working folder, then the entrypoint.
RC = """mkdir -p /work 2>/dev/null
cd /work || exit 1
if [ -s /etc/rc.local ]; then . /etc/rc.local; fi
echo the entrypoint speaks
export FROM_ENTRYPOINT=yes
exec "$@"
"""


def make_image(root: Path) -> Path:
    """A folder that holds a shell, a few programs and the libraries that they load."""
    for name in ("usr/bin", "usr/lib", "etc", "work", "var"):
        (root / name).mkdir(parents=True)
    for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (root / link).symlink_to(target)
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found is not None, program
        shutil.copy(found, root / "usr/bin" / program)
        told = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"/\S+", told):
            target = root / "usr" / library.removeprefix("/usr").lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    (root / "etc/environment").write_text(VARIABLES)
    (root / "etc/rc").write_text(RC)
    (root / "etc/profile").write_text("export FROM_PROFILE=yes\n")
    return root


@dataclass
class Containers:
    """A cluster of n1 and n2 with 6 CPUs each whose tasks may run in images, and 4 of each held in a job."""

    name: str
    environ: dict[str, str]
    home: Path
    image: Path
    squashfs: Path
    folder: Path
    job: str
    options: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        *words: str | Path,
        environ: dict[str, str] | None = None,
        in_job: bool = True,
        timeout_s: int = 60,
    ) -> subprocess.CompletedProcess[str]:
        """What srun, or another program of Slurm, does: srun in the allocation, one task on n1."""
        argv = [str(word) for word in words]
        if in_job and argv[0] == "srun":
            where = [] if {"-N2", "-w"} & set(argv) else ["-w", "n1"]
            argv[1:1] = [f"--jobid={self.job}", "--overlap", "-N1", "-n1", *where]
        environ = {**self.environ, **(environ or {})}
        return subprocess.run(
            argv, env=environ, cwd=self.folder, capture_output=True, text=True, check=False, timeout=timeout_s
        )

    def printed(self, *words: str | Path, environ: dict[str, str] | None = None) -> str:
        """What a step prints that must succeed."""
        done = self.run("srun", *words, environ=environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def playing(self, version: str, **settings: str) -> Iterator[None]:
        """The stand-in as another version of Pyxis, or with other settings; each step reads them."""
        conf = self.home / "plugstack.conf"
        before = conf.read_text()
        words = {"pyxis_version": version, **settings}
        kept = [word for word in before.split() if word.partition("=")[0] not in words]
        conf.write_text(" ".join([*kept, *(f"{key}={value}" for key, value in words.items())]) + "\n")
        try:
            yield
        finally:
            conf.write_text(before)


@pytest.fixture
def checkout_in_containers(containers: Containers) -> Iterator[None]:
    """Jobs may mount this checkout also where its path has a space, which only the newest Pyxis can."""
    if " " not in sys.prefix:
        yield
        return
    containers.environ["HPCAI_PYXIS_VERSION"] = "0.24"
    with containers.playing("0.24"):
        yield
    del containers.environ["HPCAI_PYXIS_VERSION"]


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A cluster with containers that all tests of the session share."""
    try:
        pyxis.require_namespaces()
        pyxis.compiler(cache_dir())
    except ToolError as error:
        pytest.skip(error.what)
    sweep_left_over()
    name = f"test-{os.getpid()}-c"
    folder = tmp_path_factory.mktemp("containers")
    try:
        embedded.up(name, nodes=2, cpus_per_node=6, pyxis_version=pyxis.DEFAULT_VERSION)
        home = cache_dir() / "local" / name
        environ = {**os.environ, **embedded.environment(name), "LC_ALL": "C.UTF-8"}
        image = make_image(folder / "image")
        squashfs = folder / "image.sqsh"
        pack = [home / "pyxis" / "mksquashfs", image, squashfs, "-no-progress", "-quiet", "-noD", "-noF"]
        subprocess.run(pack, check=True, capture_output=True)
        wait = ["salloc", "--no-shell", "-N2", "--ntasks-per-node=4", "-J", "held"]
        told = subprocess.run(wait, env=environ, check=True, capture_output=True, text=True).stderr
        job = re.findall(r"Granted job allocation (\d+)", told)[0]
        yield Containers(name, environ, home, image, squashfs, folder, job)
    finally:
        if name in embedded.known():
            embedded.down(name, purge=True)
