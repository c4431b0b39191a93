"""`hpcai check` where tasks run in images: a job that would run, and what a site with Pyxis tells."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.container_cluster import Containers

pytestmark = pytest.mark.real


def found(containers: Containers, folder: Path, *words: str, status: int) -> dict[str, dict[str, Any]]:
    own = {"HPCAI_CONFIG_HOME": str(folder / "conf"), "HPCAI_RUNS_ROOT": str(folder / "runs")}
    done = warm.hpcai("check", *words, "-o", "json", env={**containers.environ, **own}, cwd=folder)
    assert done.returncode == status, done.stdout + done.stderr
    return {row["id"]: row for row in json.loads(done.stdout)["findings"]}


def test_a_job_in_an_image_would_start(containers: Containers, tmp_path: Path) -> None:
    job = f"kind: job\nname: x\ncommand: hostname\ntime_min: 5\ncontainer: {{image: {containers.squashfs}}}\n"
    (tmp_path / "job.yaml").write_text(job)
    assert set(found(containers, tmp_path, "job.yaml", status=0)) == {"start", "price-unknown"}
    (tmp_path / "job.yaml").write_text(job.replace(str(containers.squashfs), "./none.sqsh"))
    missing = found(containers, tmp_path, "job.yaml", status=3)["image-missing"]
    assert (missing["severity"], missing["place"]) == ("error", "job.yaml:5:20")
    # On a node that image would be looked for in vain, after the job has waited for its turn.
    (tmp_path / "job.sh").write_text("#!/bin/bash\n#SBATCH -N2 -t5 --container-image=ubuntu\nsrun hostname\n")
    assert "container-in-sbatch" in found(containers, tmp_path, "job.sh", status=3)


REFUSED = (
    "--container-image=ubuntu --container-mounts=data:/x",
    "--container-image=ubuntu --container-mounts=~/data:/x",
    "--container-image=ubuntu --container-mounts=/tmp:/x:ro,rw",
    "--container-image=ubuntu --container-mounts=/tmp:/tmp,",
    "--container-image=ubuntu --container-readonly --container-writable",
    "--container-image=ubuntu --container-env=A,,B",
    "--container-image=ubuntu --container-image=debian",
    "--container-name=x:new --container-image=ubuntu",
)


def test_what_is_called_refused_is_refused(containers: Containers, tmp_path: Path) -> None:
    for options in REFUSED:
        (tmp_path / "job.sh").write_text(f"#!/bin/bash\n#SBATCH -t 5\nsrun {options} hostname\n")
        rows = found(containers, tmp_path, "job.sh", status=3)
        assert rows["container-option-wrong"]["severity"] == "error", options
        argv = ["srun", "-n1", *options.split(), "hostname"]
        done = subprocess.run(argv, env=containers.environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (255, ""), options + done.stderr
        assert "pyxis: " in done.stderr
    # What lacks an image runs, and on the node itself.
    (tmp_path / "job.sh").write_text("#!/bin/bash\nsrun --container-mounts=/tmp:/x hostname\n")
    assert "container-options-unused" in found(containers, tmp_path, "job.sh", status=3)
    argv = ["srun", "-n1", "--container-mounts=/tmp:/x", "cat", "/etc/hostname"]
    done = subprocess.run(argv, env=containers.environ, capture_output=True, text=True, check=True)
    assert "ignoring --container-mounts" in done.stderr


def test_a_site_with_pyxis_names_its_plugin(containers: Containers, tmp_path: Path) -> None:
    rows = found(containers, tmp_path, "--nodes", status=0)
    assert rows["pyxis"]["what"].startswith("srun and sbatch have --container-image (/")
    assert "Enroot" in rows["node"]["what"]
    with containers.playing("0.21", sbatch_support="0"):
        assert "srun has --container-image (/" in found(containers, tmp_path, status=0)["pyxis"]["what"]
