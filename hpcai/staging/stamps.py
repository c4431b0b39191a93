"""What the files of a data set looked like when their content was last verified: size and time of change.

The note lies in the folder itself and goes with it. It only spares reading: a folder without one, as every
folder made before there were notes, is read once and then has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hpcai.files import write_whole
from hpcai.staging.manifest import Manifest

NOTE_NAME = ".verified.json"
_SCHEMA_VERSION = 1

# Bytes, and nanoseconds of the last write.
Stamp = tuple[int, int]


def stamp(path: Path) -> Stamp | None:
    """What the file looks like now; None when it is not there or in a closed folder."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return state.st_size, state.st_mtime_ns


def verified_stamps(folder: Path, manifest: Manifest) -> dict[str, Stamp]:
    """The stamps of the shards verified in this folder; none where no note of this version tells."""
    try:
        note = json.loads((folder / NOTE_NAME).read_text(encoding="utf-8"))
        if (note["schema_version"], note["version"]) != (_SCHEMA_VERSION, manifest.version):
            return {}
        return {path: (int(size), int(time_ns)) for path, (size, time_ns) in note["shards"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A damaged note is worth as much as none.
        return {}


def write_stamps(folder: Path, manifest: Manifest, stamps: Mapping[str, Stamp]) -> None:
    """The note of what has been verified; where it cannot be written, the next one reads everything again."""
    note = {"schema_version": _SCHEMA_VERSION, "version": manifest.version, "shards": dict(stamps)}
    with suppress(OSError):
        write_whole(folder / NOTE_NAME, json.dumps(note) + "\n")
