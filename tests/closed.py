"""Root as an ordinary user: what no permission allows is closed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION_3 = 0x20080522
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: to look at everything, whatever its mode.
LOOKS_AT_EVERYTHING = 1 << 1 | 1 << 2


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """This thread, and those that it starts, may look only where a mode allows it."""
    if os.geteuid() != 0:
        yield
        return
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    # Effective, permitted and inheritable, each for the capabilities below 32; then those above.
    words = (ctypes.c_uint32 * 6)()
    if library.capget(header, words) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    before = words[0]
    words[0] = before & ~LOOKS_AT_EVERYTHING
    if library.capset(header, words) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    try:
        yield
    finally:
        words[0] = before
        assert library.capset(header, words) == 0


def never_looks_at_everything() -> None:
    """For a new process, before its program: also root becomes an ordinary user."""
    library = ctypes.CDLL(None)
    for capability in (1, 2):
        # PR_CAPBSET_DROP, which is refused to who is not root.
        library.prctl(24, capability)
