"""The catalog as it is shipped, whatever file of sizes the user of this machine has."""

from __future__ import annotations

import os

os.environ.pop("HPCAI_VM_SIZES", None)
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
