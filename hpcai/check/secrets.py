"""Secrets: variables whose names say that they are some, and references that do not open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError
from hpcai.specs.job import JobSpec
from hpcai.specs.secrets import parse_reference

_LIKE_A_SECRET = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CONNECTION_STRING)$", re.IGNORECASE
)


def secrets_in_env(spec: JobSpec) -> Iterator[Finding]:
    """A warning per variable that is a secret by its name; those that surely are, no file may hold."""
    for name in spec.env:
        if _LIKE_A_SECRET.search(name):
            what = f"{name!r} looks like a secret, and env stands in the script and in the run's record."
            fix = f"Put it under secrets:, such as {name}: file:/PATH (of mode 0600) or {name}: env:NAME."
            yield Finding("secret-in-env", "warning", f"env.{name}", what, fix)


def secrets_by_reference(spec: JobSpec, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each secret can be read here; its value is told to nobody."""
    if not spec.secrets:
        return
    from hpcai.staging.secrets import read_here

    for variable, text in spec.secrets.items():
        where = f"secrets.{variable}"
        try:
            if read_here(variable, parse_reference(text), environ) is None:
                what = f"Whether {text} opens, only the node that reads it can tell."
                fix = "The identity of the nodes needs the role Key Vault Secrets User."
                yield Finding("secret-only-on-nodes", "note", where, what, fix)
        except HpcaiError as error:
            fix = " ".join(part for part in (error.allowed, error.next_step) if part)
            yield Finding("secret-unreadable", "error", where, error.what, fix or None)
