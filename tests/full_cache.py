"""A cache as a finished set-up leaves it, but with nothing in its parts."""

from __future__ import annotations

import json
from pathlib import Path

from hpcai.launch.environment import TESTED
from hpcai.slurm.local import accounting, prefix
from hpcai.slurm.local.azurite import VERSION as AZURITE


def fill(cache: Path) -> None:
    """Marks Slurm, Azurite, and what tests alone need as made."""
    for release in (None, TESTED):
        slurm = prefix.place(cache, release)
        slurm.mkdir(parents=True, exist_ok=True)
        made = {"layout": prefix.LAYOUT, "root": str(slurm.resolve()), "slurm": "24.11.5"}
        (slurm / "prefix.json").write_text(json.dumps(made))
    parts = accounting.place(cache, TESTED)
    parts.mkdir(parents=True)
    made = {"layout": accounting.LAYOUT, "root": str(parts.resolve()), "slurm": "24.11.5"}
    (parts / "parts.json").write_text(json.dumps(made))
    (cache / "azurite" / AZURITE).mkdir(parents=True)
