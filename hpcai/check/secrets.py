"""Variables whose names say that they are secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpcai.check.findings import Finding
from hpcai.specs.job import JobSpec

_LIKE_A_SECRET = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CONNECTION_STRING)$", re.IGNORECASE
)


def secrets_in_env(spec: JobSpec) -> Iterator[Finding]:
    """A warning per variable that is a secret by its name; those that surely are, no file may hold."""
    for name in spec.env:
        if _LIKE_A_SECRET.search(name):
            what = f"{name!r} looks like a secret, and env stands in the script and in the run's record."
            fix = (
                "Leave it out and export it where you submit, or let setup: read it from a file of mode 0600."
            )
            yield Finding("secret-in-env", "warning", f"env.{name}", what, fix)
