"""hpcai: the experience of a managed AI training service on a Slurm cluster that you own."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# Public name -> the module that holds it. Nothing is imported before it is asked for:
# `import hpcai` stays under 30 ms however much the library grows.
_HOMES = {
    "HpcaiError": "hpcai.errors",
    "JobSpec": "hpcai.specs.job",
    "Run": "hpcai.runs.record",
    "executor": "hpcai.launch.function",
    "load": "hpcai.specs.load",
    "submit": "hpcai.jobs",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hpcai' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
