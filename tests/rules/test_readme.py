"""The README's blocks run: console sessions print what they show, YAML loads, Python runs.

Blocks marked `recorded` (```console recorded) take minutes and run in the long tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.specs.load import load_text
from tests.real_cluster import RealCluster
from tests.rules.readme import Block, blocks, matches, steps

ROOT = Path(__file__).parents[2]
BLOCKS = [block for page in ("README.md", "docs/job.md", "docs/catalog.md") for block in blocks(ROOT / page)]


def by(language: str, info: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.info == info]


def name(block: Block) -> str:
    return f"line {block.line}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a session may write to, with the examples in it as in a checkout."""
    made = tmp_path / "folder"
    made.mkdir()
    (made / "examples").symlink_to(ROOT / "examples")
    return made


def run(command: str, environ: dict[str, str], folder: Path) -> tuple[int, str]:
    """Its exit status, and all that it prints."""
    path = f"{Path(sys.executable).parent}:{environ.get('PATH', os.environ['PATH'])}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def check(block: Block, environ: dict[str, str], folder: Path) -> str:
    """All that the block's commands printed, which is what the page says."""
    printed = ""
    for step in steps(block):
        status, got = run(step.command, environ, folder)
        told = f"$ {step.command}\n--- README says\n{step.expected}\n--- got, with status {status}\n{got}"
        assert matches(step.expected, got), told
        # What hpcai refuses is shown with its message; all else must succeed.
        assert (status != 0) == step.expected.startswith("hpcai: "), told
        printed += got
    return printed


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "console"], ids=name)
def test_every_session_shows_what_it_prints(block: Block) -> None:
    for step in steps(block):
        assert step.expected.replace("...", "").strip(), f"nothing is expected of $ {step.command}"


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    kinds = {(block.language, block.info) for block in BLOCKS}
    assert kinds <= {
        ("console", ""),
        ("console", "recorded"),
        ("console", "cluster"),
        ("yaml", ""),
        ("python", "cluster"),
    }


@pytest.mark.parametrize("block", by("yaml", ""), ids=name)
def test_yaml_loads(block: Block) -> None:
    assert load_text(block.text, "README.md") is not None


@pytest.mark.programs
@pytest.mark.parametrize("block", by("console", ""), ids=name)
def test_console_sessions(block: Block, tmp_path: Path, folder: Path) -> None:
    own = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    check(block, {"HPCAI_RUNS_ROOT": str(tmp_path / "runs"), **own}, folder)


@pytest.mark.real
@pytest.mark.parametrize("block", by("console", "cluster"), ids=name)
def test_console_sessions_on_a_cluster(
    block: Block, cluster: RealCluster, tmp_path: Path, folder: Path
) -> None:
    check(block, {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")}, folder)


@pytest.mark.real
@pytest.mark.parametrize("block", by("python", "cluster"), ids=name)
def test_python_on_a_cluster(block: Block, cluster: RealCluster, tmp_path: Path) -> None:
    program = tmp_path / "block.py"
    program.write_text(block.text)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, **cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs").glob("*/*/script.sbatch"))


@pytest.mark.long
@pytest.mark.parametrize("block", by("console", "recorded"), ids=name)
def test_the_recorded_sessions(block: Block) -> None:
    printed = check(block, {}, ROOT)
    if "./dev demo" in block.text:
        last_of_two_nodes = re.findall(r" epoch 6/6 .* top-1 (\S+)", printed)
        assert float(last_of_two_nodes[-1]) >= 0.97


def test_the_comparison_itself() -> None:
    assert matches("a ... c\n", "a b c  \n\n")
    assert matches("job ...\n...\ndone", "job 12\nstep 1\nstep 2\ndone")
    assert matches("...\njob\n...\n", "job\n")
    assert not matches("job ...\ndone", "job 12\nstep 1\ndone")
    assert matches("n1 took 0.2 s, n2 1 h 2 min", "n1  took 2 min 3 s, n2 59 s")
    assert not matches("job 1", "job one")
    assert not matches("a ... c", "a b")
    assert not matches("a", "b")
