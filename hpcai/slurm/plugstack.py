"""What plugstack.conf of this machine says of Pyxis, and the plugin file that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# What Pyxis's daemon part logs when it is loaded; it stands so in the file (pyxis_slurmd.c).
_SAYS = re.compile(rb"pyxis: version v(\d+(?:\.\d+)+)")
# Where plugstack.conf lies when SLURM_CONF does not say it; the last is that of a configless node.
FOLDERS = [Path("/etc/slurm"), Path("/etc/slurm-llnl"), Path("/run/slurm/conf")]
# A plugin of Pyxis has about 100 kB.
_LONGEST = 16 * 2**20


def pyxis_options(environ: Mapping[str, str]) -> dict[str, str]:
    """The options of Pyxis in plugstack.conf of this machine, its path as `plugin`; empty without."""
    config = environ.get("SLURM_CONF")
    folders = [Path(config).parent] if config else FOLDERS
    for folder in folders:
        for line in _lines(folder / "plugstack.conf"):
            words = line.split()
            if len(words) > 1 and "pyxis" in Path(words[1]).name:
                return {"plugin": words[1]} | dict(word.split("=", 1) for word in words[2:] if "=" in word)
    return {}


def pyxis_version(environ: Mapping[str, str]) -> str | None:
    """The release of Pyxis, such as `0.21.0`, in the plugin's own words; None where they cannot be read."""
    options = pyxis_options(environ)
    # The embedded cluster's stand-in is told which release it plays.
    if "pyxis_version" in options:
        return options["pyxis_version"]
    try:
        with Path(options["plugin"]).open("rb") as file:
            found = _SAYS.search(file.read(_LONGEST))
    except (KeyError, OSError):
        return None
    return found[1].decode() if found else None


def _lines(file: Path, depth: int = 0) -> Iterator[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        text = line.partition("#")[0].strip()
        included = re.fullmatch(r"include\s+(\S+)", text)
        if included and depth < 3:
            pattern = Path(included[1])
            folder = pattern.parent if pattern.is_absolute() else file.parent / pattern.parent
            for each in sorted(folder.glob(pattern.name)):
                yield from _lines(each, depth + 1)
        elif text and not included:
            yield text
