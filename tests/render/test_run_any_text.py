"""Any text as value, argument, folder, name and comment: through a real sbatch to a real bash, or refused."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hpcai.errors import RenderError
from tests.real_cluster import RealCluster
from tests.render.on_slurm import Slurm, has_ended

pytestmark = pytest.mark.real

SIGNS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.text(SIGNS, max_size=30) | st.text("$(){}`'\"\\ #%,;&|<>*?!~\n\t=[]ab", max_size=30)
# A job takes a second; the texts of an example go through one.
MANY = st.lists(TEXTS, min_size=30, max_size=60)
FOLDERS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
REAL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def slurm(cluster: RealCluster, tmp_path: Path) -> Slurm:
    return Slurm(cluster.environ, tmp_path)


@settings(REAL, max_examples=3)
@given(MANY, FOLDERS)
def test_values_arguments_and_folders_arrive_byte_for_byte(
    slurm: Slurm, texts: list[str], folder: str
) -> None:
    workdir = slurm.folder / "in" / folder
    workdir.mkdir(parents=True, exist_ok=True)
    values = {f"V{number}": text for number, text in enumerate(texts)}
    told = [*(f'"${name}"' for name in values), *(shlex.quote(text) for text in texts), '"$PWD"']
    fields = {"command": f"printf '%s\\0' {' '.join(told)}", "env": values, "workdir": workdir}
    try:
        job_id, out = slurm.submit_by_hand(name="any", **fields)
    except (ValidationError, RenderError) as refused:
        # Only a folder can be refused, and says why.
        assert "\n" in folder or "\\" in folder, refused
        return
    job = slurm.wait(job_id, is_there=has_ended)
    printed = (slurm.folder / f"any-{job_id}.out").read_bytes()
    assert job["JobState"] == "COMPLETED", printed
    assert printed.split(b"\0")[:-1] == [text.encode() for text in [*texts, *texts, str(workdir)]]
    assert out.parent == slurm.folder


@settings(REAL, max_examples=15)
@given(NAMES | TEXTS, TEXTS)
def test_names_and_comments_arrive_or_are_refused_before_anything_is_written(
    slurm: Slurm, name: str, comment: str
) -> None:
    script = slurm.folder / "by-hand.sbatch"
    script.unlink(missing_ok=True)
    try:
        job_id, _ = slurm.submit_by_hand(name=name, comment=comment, command="true", hold=True)
    except (ValidationError, RenderError):
        assert not script.exists()
        return
    try:
        said = ["squeue", "--noheader", "--jobs", job_id, "--format=%j\x1f%k\x1f"]
        told = subprocess.run(said, env=slurm.environ, capture_output=True, check=True).stdout
        assert told.split(b"\x1f")[:2] == [name.encode(), comment.encode()]
    finally:
        slurm.command("scancel", job_id)
