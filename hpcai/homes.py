"""The folders of this user, as the environment names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def config_home(environ: Mapping[str, str]) -> Path:
    """Where this user's own settings lie: HPCAI_CONFIG_HOME, else `$XDG_CONFIG_HOME/hpcai`."""
    named = environ.get("HPCAI_CONFIG_HOME")
    return home_path(named or f"{environ.get('XDG_CONFIG_HOME') or '~/.config'}/hpcai", environ)


def home_path(path: str, environ: Mapping[str, str]) -> Path:
    """The path with `~` for this user's home, from the current folder where it is relative."""
    if path == "~" or path.startswith("~/"):
        home = environ.get("HOME")
        path = f"{home}{path[1:]}" if home else str(Path(path).expanduser())
    return Path(path).absolute()
