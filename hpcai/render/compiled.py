"""Templates that were compiled once, kept for the next process: compiling is a tenth of a dry run."""

from __future__ import annotations

import os
import pickle
import stat
from contextlib import suppress

from jinja2.bccache import Bucket, BytecodeCache, FileSystemBytecodeCache

from hpcai import __version__
from hpcai.specs.site import cache_dir


def compiled_templates() -> BytecodeCache | None:
    """This user's compiled templates of this release; None where they cannot be kept safely."""
    try:
        folder = cache_dir() / "templates" / __version__
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except (OSError, RuntimeError):
        # No home, or none that can be written to: every process compiles for itself.
        return None
    # What lies there is run as code: no other user may have put it there, not even for root.
    is_safe = about.st_uid == os.geteuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return _Compiled(str(folder)) if is_safe else None


class _Compiled(FileSystemBytecodeCache):
    """Jinja's, for which a file that cannot be read or written is no error: it only costs time."""

    def load_bytecode(self, bucket: Bucket) -> None:
        try:
            super().load_bytecode(bucket)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)
