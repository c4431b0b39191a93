"""A test without a mark starts no process, so that the pure tests stay quick and need nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("start", [lambda: subprocess.run(["true"], check=True), os.fork])
def test_a_process_in_a_pure_test_is_a_failure(start: Callable[[], object]) -> None:
    with pytest.raises(AssertionError, match="mark it 'programs' or 'real'"):
        start()
