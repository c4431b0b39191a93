"""The scripts that people take without hpcai: each is what its job file renders to by hand, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcai.catalog.profiles import profile
from hpcai.render.environment import shipped
from hpcai.render.job import render_job
from hpcai.render.resolved import resolve_job
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.site import Site

FOLDER = shipped("sbatch")
SCRIPTS: Mapping[str, Mapping[str, Any]] = yaml.safe_load((FOLDER / "scripts.yaml").read_text())
HOME = Path("/shared/home/user")


def spec_of(name: str) -> JobSpec:
    entry = SCRIPTS[name]
    text = (FOLDER / entry["file"]).read_text()
    spec = load_text(text, entry["file"], entry.get("set", ()), base=FOLDER, check_paths=False)
    assert isinstance(spec, JobSpec)
    return spec


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_what_its_job_file_renders_to(name: str, golden: Callable[[Path, str], None]) -> None:
    site = Site(runs_root=HOME / "hpcai/runs")
    job = resolve_job(spec_of(name), site, interpreter=HOME / "hpcai/.venv/bin/python")
    golden(FOLDER / f"{name}.sbatch", render_job(job, None))


def test_no_script_and_no_job_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.sbatch")} == set(SCRIPTS)
    named = {str(entry["file"]) for entry in SCRIPTS.values()} | {"scripts.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} == named


def test_the_page_names_every_script() -> None:
    named = re.findall(r"\[(\S+)\.sbatch\]\(\1\.sbatch\)", (FOLDER / "README.md").read_text())
    assert sorted(named) == sorted(SCRIPTS)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if "00" in name])
def test_a_gpu_script_has_the_settings_of_its_size(name: str) -> None:
    text = (FOLDER / f"{name}.sbatch").read_text()
    found = profile(str(spec_of(name).profile))
    assert f"#SBATCH --gpus-per-node={found.gpus_per_node}\n" in text
    assert all(f"export {variable}=" in text for variable in found.env)
    if name.endswith("-pyxis"):
        (named,) = re.findall(r"--container-env='?([\w,]+)", text)
        assert set(found.env) <= set(named.split(","))
