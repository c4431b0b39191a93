"""Whole processes timed beside each other, in interleaved rounds."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence


def medians_ms(programs: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """The median milliseconds of each program; the table with n and spread goes to stdout."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for argv in programs.values():
        _run_ms(argv)
    for _ in range(rounds):
        for name, argv in programs.items():
            times[name].append(_run_ms(argv))
    print(f"| whole process, n={rounds} | median ms | min | max |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    return {name: statistics.median(values) for name, values in times.items()}


def _run_ms(argv: Sequence[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return (time.perf_counter() - begin) * 1000
