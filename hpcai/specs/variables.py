"""The variables that hpcai reads or gives to jobs, and those of an environment that only look like some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hpcai.errors import nearest
from hpcai.specs.settings import JOB_VARIABLE, SETTINGS

_PREFIX = "HPCAI_"
# What a person may set.
_READ = (
    *("HPCAI_CONFIG_HOME", "HPCAI_SITE_CONFIG", "HPCAI_VM_SIZES", "HPCAI_LOCAL", "HPCAI_SAMPLES_EVERY_S"),
    *("HPCAI_PRICES_URL", "HPCAI_METADATA_URL", "HPCAI_DEBIAN_MIRROR_URL", "HPCAI_TORCH_INDEX_URL"),
    "HPCAI_KEY_VAULT_ENDPOINT",
)
# What a job's script sets, and what parts of hpcai tell each other.
_GIVEN = (
    *("HPCAI_RUN_DIR", "HPCAI_OUTPUTS", "HPCAI_ATTEMPT", "HPCAI_EXIT_STATUS", "HPCAI_PYTHON", "HPCAI_SERVER"),
    *("HPCAI_TF_CLUSTER", "HPCAI_LOCAL_STATE", "HPCAI_LOCAL_NODE", "HPCAI_SYS"),
)
# What names begin with that a job's file, or a test, makes up.
_OPEN = (JOB_VARIABLE, "HPCAI_DATA_", "HPCAI_OUTPUT_", "HPCAI_STEP_", "HPCAI_TEST_")


def known_variables() -> frozenset[str]:
    """Every name but those that a job's file makes up."""
    return frozenset((*_settable(), *_GIVEN))


def _settable() -> list[str]:
    return [*_READ, *(one.variable for one in SETTINGS.values() if one.variable)]


def unheeded(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Each variable that is named like hpcai's own and that nobody reads, with the one that may be meant."""
    known = known_variables()
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(_OPEN):
            yield name, _of_job(name) or _nearest(name)


def _of_job(name: str) -> str | None:
    from hpcai.specs.job import ALIASES, JobSpec

    key = name.removeprefix(_PREFIX).lower()
    key = ALIASES.get(key, key)
    return f"{JOB_VARIABLE}{key.upper()}" if key in JobSpec.model_fields else None


def _nearest(name: str) -> str | None:
    # What all have in common makes none of them nearer.
    bare = {one.removeprefix(_PREFIX): one for one in _settable()}
    near = nearest(name.removeprefix(_PREFIX), bare)
    return bare[near] if near else None
