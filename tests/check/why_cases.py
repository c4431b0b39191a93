"""Cases of `hpcai why` as data: what Slurm said, what logs and the record hold, and what must be told.

A case file in tests/cases/why names its source. `{folder}` is a folder of the case's own. `slurm` are
Slurm's commands with what they print; a command that is not there is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from hpcai.check.why.answer import answer
from hpcai.check.why.ask import Asked, gather
from hpcai.check.why.facts import Answer
from hpcai.errors import SlurmError
from hpcai.runs.record import Run
from hpcai.shell import Completed
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient

FOLDER = Path(__file__).parents[1] / "cases" / "why"
NOW = datetime(2026, 11, 21, 19, 0, tzinfo=timezone.utc).timestamp()
AGAIN = "hpcai submit /runs/e/train/spec.yaml"


class Told(SlurmClient):
    """Slurm whose commands print what a case says."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__({})
        self.texts = texts
        self.asked: list[str] = []

    def _run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Completed:  # noqa: ARG002
        line = " ".join(argv)
        self.asked.append(line)
        for command, text in self.texts.items():
            if line.startswith(command):
                return Completed(tuple(argv), 0, text, "")
        raise SlurmError(f"{argv[0]} refused: {line}.")


@dataclass(frozen=True)
class Case:
    """One job, in a folder of its own."""

    given: Mapping[str, Any]
    folder: Path

    def told(self) -> Answer:
        return answer(gather(self.asked()))

    def asked(self) -> Asked:
        client = Told({key: self._text(text) for key, text in self.given.get("slurm", {}).items()})
        job = self._job(client)
        run = self._run() if "record" in self.given else None
        self._write(self.folder, self.given.get("files", {}))
        again = AGAIN if run is not None else None
        return Asked(run, job, client if job else None, self._status(), NOW, again)

    def _job(self, client: SlurmClient) -> JobInfo | None:
        if "job" not in self.given:
            return None
        return client.job(self.given["job"])

    def _run(self) -> Run:
        record = self.given["record"]
        run = Run(self.folder / "e" / "train", record.get("task"))
        run.path.mkdir(parents=True)
        run.paths.resolved.write_text(json.dumps({"schema_version": 1, **record.get("resolved", {})}))
        for name in ("attempts", "ends", "events"):
            lines = [self._text(json.dumps(one)) for one in record.get(name, [])]
            path: Path = getattr(run.paths, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in lines))
        self._write(run.path / "logs", record.get("logs", {}))
        return run

    def _write(self, folder: Path, files: Mapping[str, Any]) -> None:
        """Files in the order in which they were last written to, a second apart."""
        for number, (name, content) in enumerate(files.items()):
            path = folder / self._text(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = self._text(content if isinstance(content, str) else str(content["text"]))
            if not isinstance(content, str):
                # What a long log goes on with.
                text += str(content.get("then", "")) * int(content.get("times", 1))
            path.write_text(text)
            later_s = 0 if isinstance(content, str) else content.get("later_s", 0)
            moment = NOW - 3600 + number + later_s
            os.utime(path, (moment, moment))

    def _status(self) -> Path | None:
        status = self.given.get("status")
        if status is None:
            return None
        path = self.folder / "status.json"
        if isinstance(status, str):
            path.write_text(status)
        else:
            path.write_text(json.dumps({**status, "time": NOW - status.get("age_s", 120)}))
        return path

    def _text(self, text: str) -> str:
        return text.replace("{folder}", str(self.folder))


def load(name: str) -> dict[str, Any]:
    """One case."""
    case: dict[str, Any] = yaml.load((FOLDER / f"{name}.yaml").read_bytes(), yaml.CSafeLoader)
    return case
