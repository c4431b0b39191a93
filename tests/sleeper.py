"""A program that waits, to be found and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SLEEP = [sys.executable, "-c", "print(flush=True); input()"]


@contextmanager
def sleeper(cwd: Path | None = None, **marks: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that waits; it has started when the block begins."""
    environ = {"PATH": os.defpath, **marks}
    program = subprocess.Popen(SLEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=cwd)
    assert program.stdin and program.stdout
    try:
        program.stdout.readline()
        yield program
    finally:
        program.kill()
        program.communicate()
