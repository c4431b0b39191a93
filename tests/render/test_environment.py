from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hpcai import shell
from hpcai.errors import RenderError
from hpcai.render import environment

ROOT = Path(__file__).parent.parent.parent
IN_THE_WHEEL = """
from pathlib import Path
import hpcai
from hpcai.render.cluster import render_cluster
from hpcai.render.environment import shipped
from hpcai.render.job import render_job
from hpcai.render.resolved import resolve_job
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load
from hpcai.specs.site import Site
print(hpcai.__file__)
config, = shipped("cluster-configs").glob("nd-h100*.yaml")
template, parameters = render_cluster(load(config))
print(template.splitlines()[0])
job = resolve_job(JobSpec(name="a", command="true"), Site(Path("/runs")), interpreter=Path("/python"))
print(render_job(job, Path("/runs/a")).splitlines()[0])
print(sorted(path.name for path in shipped("sbatch").glob("*.sbatch")))
"""


@pytest.mark.programs
def test_an_installed_wheel_renders_from_what_it_brought_along(tmp_path: Path) -> None:
    built, installed = tmp_path / "built", tmp_path / "installed"
    python = sys.executable
    shell.run([python, "-m", "hatchling", "build", "-t", "wheel", "-d", built], timeout_s=120, cwd=ROOT)
    (wheel,) = built.glob("hpcai-*.whl")
    pip = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    shell.run([*pip, "--target", installed, wheel], timeout_s=120)
    outside = {**os.environ, "PYTHONPATH": str(installed)}
    done = shell.run([python, "-c", IN_THE_WHEEL], timeout_s=60, cwd=tmp_path, env=outside)
    package, template, script, scripts = done.stdout.splitlines()
    assert package == str(installed / "hpcai/__init__.py")
    assert template.startswith("# nd-h100-slurm: Slurm on Azure CycleCloud")
    assert script == "#!/bin/bash"
    assert scripts == str(sorted(path.name for path in (ROOT / "sbatch").glob("*.sbatch")))


def test_a_folder_that_does_not_ship_is_an_error_with_the_next_step() -> None:
    with pytest.raises(RenderError, match=r"'no-such' that ships with hpcai is not in .*\n.*pip install"):
        environment.shipped("no-such")


def test_a_template_that_asks_for_more_than_it_is_given_is_an_error() -> None:
    with pytest.raises(RenderError, match=r"UndefinedError: 'where' is undefined"):
        environment.render("sbatch/job.sh.j2")
    with pytest.raises(RenderError, match="TemplateNotFound"):
        environment.render("no-such.j2")
