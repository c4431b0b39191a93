"""A cache as a finished set-up leaves it, but with nothing in its parts."""

from __future__ import annotations

import json
from pathlib import Path

from hpcai.slurm.local import prefix
from hpcai.slurm.local.azurite import VERSION as AZURITE


def fill(cache: Path) -> None:
    """Marks Slurm and Azurite as made."""
    slurm = prefix.place(cache)
    slurm.mkdir(parents=True)
    (slurm / "prefix.json").write_text(json.dumps({"layout": prefix.LAYOUT, "root": str(slurm.resolve())}))
    (cache / "azurite" / AZURITE).mkdir(parents=True)
