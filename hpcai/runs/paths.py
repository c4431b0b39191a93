"""Where everything of one run lies: the only place that knows the names of a record's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunPaths:
    """The files of one run, or of one task of a run that is an array: what it was made from is the run's.

    `docs/run-record.md` says what is in each and who writes it.
    """

    root: Path
    task: int | None = None

    @property
    def own(self) -> Path:
        """The folder of what is written while it runs, which no other task writes to."""
        return self.root if self.task is None else self.tasks_dir / str(self.task)

    @property
    def tasks_dir(self) -> Path:
        """The folders of an array's tasks."""
        return self.root / "tasks"

    @property
    def spec(self) -> Path:
        return self.root / "spec.yaml"

    @property
    def resolved(self) -> Path:
        return self.root / "resolved.json"

    @property
    def script(self) -> Path:
        return self.root / "script.sbatch"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def attempts(self) -> Path:
        return self.own / "attempts.jsonl"

    @property
    def ends(self) -> Path:
        return self.own / "ends.jsonl"

    @property
    def environment(self) -> Path:
        return self.own / "environment.json"

    @property
    def code(self) -> Path:
        """The link to the snapshot that the job runs from."""
        return self.root / "code"

    @property
    def code_facts(self) -> Path:
        """Where the snapshot comes from."""
        return self.root / "code.json"

    @property
    def code_diff(self) -> Path:
        return self.root / "code.diff"

    @property
    def outputs(self) -> Path:
        return self.own / "outputs"

    @property
    def logs_dir(self) -> Path:
        return self.own / "logs"

    @property
    def batch_log(self) -> Path:
        """What Slurm itself prints for the batch part, over all attempts."""
        return self.root / "logs" / ("batch.out" if self.task is None else f"batch-{self.task}.out")

    def log(self, attempt: int, rank: int, stream: Literal["out", "err"] = "out") -> Path:
        return self.logs_dir / str(attempt) / f"{rank}.{stream}"

    def logs(self, attempt: int) -> list[Path]:
        """The logs that the ranks of an attempt have begun, by rank, `.err` before `.out`."""
        found = [
            path
            for path in _entries(self.logs_dir / str(attempt))
            if path.suffix in (".out", ".err") and path.stem.isdigit()
        ]
        return sorted(found, key=lambda path: (int(path.stem), path.suffix))

    @property
    def metrics_dir(self) -> Path:
        return self.own / "metrics"

    def metrics(self, rank: int = 0) -> Path:
        return self.metrics_dir / f"rank-{rank}.jsonl"

    @property
    def data_dir(self) -> Path:
        return self.own / "data"

    def data(self, node: str) -> Path:
        return self.data_dir / f"{node}.jsonl"

    def data_files(self) -> list[Path]:
        """The staging records that nodes have begun, by node name."""
        return sorted(path for path in _entries(self.data_dir) if path.suffix == ".jsonl")

    @property
    def samples_dir(self) -> Path:
        return self.own / "samples"

    def samples(self, node: str) -> Path:
        return self.samples_dir / f"{node}.jsonl"

    def sample_files(self) -> list[Path]:
        """What nodes have noted of their use, by node name."""
        return sorted(path for path in _entries(self.samples_dir) if path.suffix == ".jsonl")

    @property
    def notices_dir(self) -> Path:
        return self.own / "notices"

    def notices(self, node: str) -> Path:
        return self.notices_dir / f"{node}.jsonl"

    def notice_files(self) -> list[Path]:
        """What nodes have read of Azure's Scheduled Events, by node name."""
        return sorted(path for path in _entries(self.notices_dir) if path.suffix == ".jsonl")

    def folders(self) -> tuple[Path, ...]:
        """The folders that must stand before the job starts: Slurm does not make them."""
        return (self.logs_dir, self.metrics_dir, self.data_dir, self.outputs)


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return
