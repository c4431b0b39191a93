"""The stand-in for Pyxis against other releases of Slurm, and against names that nobody would choose."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcai.render.container import refuse_what_pyxis_lacks
from hpcai.slurm.local import cluster as embedded
from hpcai.specs.container import ContainerSpec
from tests.container_cluster import Containers

pytestmark = [pytest.mark.real, pytest.mark.long]


@pytest.mark.parametrize("slurm", ["22.05", "24.11", "testing"])
def test_the_plugin_serves_every_release_of_slurm(containers: Containers, slurm: str) -> None:
    name = f"{containers.name}-v"
    try:
        embedded.up(name, nodes=2, cpus_per_node=4, pyxis_version="0.24", slurm=slurm)
        environ = {**os.environ, **embedded.environment(name)}

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            argv = ["srun", *words]
            return subprocess.run(
                argv,
                env=environ,
                cwd=containers.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        assert run("--help").stdout.count("[pyxis]") == 16
        image = f"--container-image={containers.squashfs}"
        say = 'echo "$SLURMD_NODENAME $FROM_IMAGE $(readlink /proc/self/ns/user)"'
        told = run("-N2", "-n4", "--ntasks-per-node=2", image, "bash", "-c", say).stdout.splitlines()
        assert (len(told), len(set(told))) == (4, 2)
        assert all(" image user:" in line for line in told)
        assert run(image, "bash", "-c", "exit 7").returncode == 7
        assert run("--container-mounts=a", "true").returncode == 255
        missing = run("--container-image=/nope.sqsh", "true")
        assert missing.returncode == 1
        assert "pyxis:     [ERROR] No such file or directory: /nope.sqsh" in missing.stderr
    finally:
        if name in embedded.known():
            embedded.down(name, purge=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters='/:,$`"\\'),
        min_size=1,
        max_size=30,
    ).filter(lambda name: name not in (".", ".."))
)
def test_any_folder_that_is_not_refused_is_mounted_under_its_own_name(
    containers: Containers, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "inside").touch()
    mount = f"{folder}:{folder}"
    refuse_what_pyxis_lacks(ContainerSpec(image="a", mounts=[mount]), [], "0.24")
    with containers.playing("0.24"):
        image = f"--container-image={containers.image}"
        assert containers.printed(image, f"--container-mounts={mount}", "ls", str(folder)) == "inside\n"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mount=st.from_regex(
        r"(/|\./|tmpfs|umount|data|~)[a-z ]{0,3}(:[/.]?[a-z]{0,3}){0,2}(:(ro|rw|x)(\+ro)?)?", fullmatch=True
    )
)
def test_no_mount_that_a_spec_takes_is_refused_before_the_queue(containers: Containers, mount: str) -> None:
    try:
        ContainerSpec(image="a", mounts=[mount])
    except ValueError:
        return
    with containers.playing("0.24"):
        done = containers.run(
            "sbatch", "--test-only", f"--container-mounts={mount}", "--wrap=true", in_job=False
        )
    assert done.returncode == 0, done.stderr
