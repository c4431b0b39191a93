"""Documents: links resolve, every command is documented, and nothing names a development machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from hpcai.cli.root import COMMANDS
from hpcai.specs.job import ContainerSpec, DataSpec, JobSpec, OutputSpec
from hpcai.specs.retry import RetrySpec
from hpcai.specs.settings import SETTINGS, mistakes_of
from hpcai.specs.steps import StepSpec
from hpcai.specs.yaml_text import parse
from tests.rules.readme import blocks

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    """The files that git knows; without git, as in an unpacked archive, all that set-up did not make."""
    try:
        listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        made = {".venv", ".hpcai", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", ".git"}
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return [str(path) for path in files if not made & set(path.parts)]
    return listing.stdout.splitlines()


TRACKED = tracked()
PAGES = [name for name in TRACKED if name.endswith(".md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_resolve(page: str) -> None:
    targets = [target for target, _ in LINK.findall((ROOT / page).read_text()) if "://" not in target]
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_the_readme_lists_every_command_that_exists() -> None:
    listed = set(re.findall(r"^\| `hpcai (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert listed == set(COMMANDS)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("| key |", JobSpec),
        ("| key of `data` |", DataSpec),
        ("| key of `outputs` |", OutputSpec),
        ("| key of `container` |", ContainerSpec),
        ("| key of `retry` |", RetrySpec),
        ("| key of a step |", StepSpec),
    ],
)
def test_the_page_on_jobs_has_every_key(heading: str, model: type[BaseModel]) -> None:
    table = (ROOT / "docs" / "job.md").read_text().partition(heading)[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    assert {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} == set(model.model_fields)


def test_the_page_on_settings_has_every_key_with_its_variable() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (.*) \|$", text, flags=re.MULTILINE)
    assert [row for row in rows if row[0] != "job"] == [
        (key, one.variable or "", one.what) for key, one in SETTINGS.items()
    ]
    example = next(blocks(ROOT / "docs/config.md"))
    assert list(mistakes_of(parse(example.text, "docs/config.md"))) == []


def test_every_decision_is_at_most_ten_lines_of_text() -> None:
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        lines = [line for line in page.read_text().splitlines() if line.strip() and not line.startswith("#")]
        assert 1 <= len(lines) <= 10, page.name


def test_nothing_tracked_names_a_development_machine() -> None:
    # Spelt in pieces, so that this file does not name them either.
    places = ("/" + "work/", "/" + "root/", "/" + "opt/wheels", "../" + "shared", "." + "library/")
    for name in TRACKED:
        try:
            text = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found = [place for place in places if place in text]
        assert not found, f"{name} names {found}"
