"""Our own reading of ignore files says what git says, on folders and patterns of all kinds."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hpcai.runs.sources import _walk

pytestmark = pytest.mark.programs

PART = st.sampled_from(["a", "b", "ab", "a.b", "b.py", "[a]", "a b"])
NAMES = st.sets(st.lists(PART, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8)
PIECE = st.sampled_from(
    ["a", "b", "*", "?", "**", "[ab]", "[!a]", "\\[a]", ".py", ".b", "/", "/", "a*", "[a-b"]
)
PATTERN = st.tuples(st.sampled_from(["", "", "!"]), st.lists(PIECE, min_size=1, max_size=5)).map(
    lambda both: both[0] + "".join(both[1])
)
PATTERNS = st.lists(PATTERN, min_size=1, max_size=4)


def made(folder: Path, names: set[str]) -> None:
    for name in sorted(names):
        path = folder / name
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(NAMES, PATTERNS, PATTERNS)
@example({"a/b/a.b", "a/b/b.py", "b"}, ["a/**/b.py", "/b"], ["*"])
@example({"a/b", "b"}, ["a//", "//"], ["b"])
@example({"a/b", "a/a"}, ["a/*", "!a/b"], ["b"])
def test_it_reads_as_git_does(names: set[str], patterns: list[str], below: list[str]) -> None:
    # Of two asterisks beside other signs gitignore(5) says that they are like one; git's code differs.
    assume(not any(re.search(r"[^/!]\*\*|\*\*[^/]", pattern) for pattern in (*patterns, *below)))
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        made(folder, names)
        (folder / ".gitignore").write_text("\n".join(patterns) + "\n")
        if (folder / "a").is_dir():
            (folder / "a/.gitignore").write_text("\n".join(below) + "\n")
        subprocess.run(["git", "init", "-q", folder], check=True)
        argv = ["git", "-C", folder, "ls-files", "-o", "--exclude-standard", "-z"]
        told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        assert sorted(_walk(folder, ignores=True)) == sorted(filter(None, told.split("\0")))
