"""Programs that answer as Slurm's commands do, one answer after the other."""

from __future__ import annotations

import os
from pathlib import Path


class Programs:
    """Programs on PATH that print the next of their answers; each call is noted with its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"PATH": f"{folder}:{os.environ['PATH']}"}

    def answers(self, program: str, *answers: tuple[int, str, str]) -> None:
        for number, (status, stdout, stderr) in enumerate(answers, start=1):
            (self.folder / f"{program}.{number}.out").write_text(stdout)
            (self.folder / f"{program}.{number}.err").write_text(stderr)
            (self.folder / f"{program}.{number}.status").write_text(str(status))
        path = self.folder / program
        path.write_text(
            f'#!/bin/sh\ncd "{self.folder}"\nprintf "%s\\n" "$*" >>{program}.calls; env >{program}.env\n'
            f"n=$(wc -l <{program}.calls); [ -f {program}.$n.out ] || n={len(answers)}\n"
            f"cat {program}.$n.out; cat {program}.$n.err >&2; exit $(cat {program}.$n.status)\n"
        )
        path.chmod(0o755)

    def calls(self, program: str) -> list[str]:
        path = self.folder / f"{program}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self, program: str) -> dict[str, str]:
        lines = (self.folder / f"{program}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
