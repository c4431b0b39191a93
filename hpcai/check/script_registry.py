"""Images that a script takes from a registry: by an srun of its own, or by an import above it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hpcai.check import credentials
from hpcai.check.bash.programs import begin_of_program
from hpcai.check.bash.values import Text
from hpcai.check.findings import Finding, Severity
from hpcai.check.job import Surroundings
from hpcai.check.script_sruns import commands_of
from hpcai.check.script_view import View, softened


def check_imports(view: View, around: Surroundings) -> Iterator[Finding]:
    """Findings about each image that an `enroot import` of the script names."""
    for call in view.calls:
        for command in commands_of(call):
            words = command[begin_of_program([word.text for word in command]) :]
            if [word.text for word in words[:2]] != ["enroot", "import"]:
                continue
            for image in words[2:]:
                if image.is_known and image.text.startswith("docker://"):
                    for finding in check_registry(image, around, "enroot import"):
                        yield softened(finding, is_sure=call.depth == 0 and image.is_sure)


def check_registry(image: Text, around: Surroundings, where: str = "--container-image") -> Iterator[Finding]:
    """Findings about the name of an image in a registry, and about the password for it."""
    host, slash, rest = re.sub(r"^dockerd?://", "", image.text).partition("/")
    if slash and "#" not in image.text and re.search(r"[.:]", host):
        version = around.site.enroot_version
        if version is None or int(version.lstrip("v").partition(".")[0]) < 4:
            what = f"Enroot before 4.0 takes {host!r} for a name on Docker Hub and ends with 401."
            fix = f"Write {host}#{rest}, which every version reads."
            severity: Severity = "error" if version else "warning"
            yield Finding("image-registry-slash", severity, where, what, fix, image.at)
    for finding in credentials.check_credentials(image.text, where, around.sight, around.environ):
        yield replace(finding, where=where, place=image.at)
