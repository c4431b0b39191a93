"""Scores a batch of files: every rank takes its share of the list and writes its own results.

srun -n 4 python score.py inputs/ results/
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path


def score(path: Path) -> dict[str, object]:
    """What a model would say of one file; here its size and a fingerprint."""
    content = path.read_bytes()
    return {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()[:16]}


def main() -> None:
    inputs, results = Path(sys.argv[1]), Path(sys.argv[2])
    rank, ranks = int(os.environ.get("SLURM_PROCID", 0)), int(os.environ.get("SLURM_NTASKS", 1))
    # Every rank sees the same order, so that the shares are disjoint and nothing is left out.
    mine = sorted(path for path in inputs.rglob("*") if path.is_file())[rank::ranks]
    results.mkdir(parents=True, exist_ok=True)
    with (results / f"{rank}.jsonl").open("w") as file:
        for path in mine:
            file.write(json.dumps(score(path)) + "\n")
    print(f"rank {rank} of {ranks} scored {len(mine)} files")


if __name__ == "__main__":
    main()
