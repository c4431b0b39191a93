"""Where this site keeps runs, scratch and storage, read from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import UsageError


@dataclass(frozen=True)
class Site:
    """The places of one site; None means that nothing is configured.

    `scratch` may hold `%n`, which stands for the node's name.
    """

    runs_root: Path
    scratch: str | None = None
    storage_account: str | None = None
    storage_endpoint: str | None = None
    storage_credentials: Path | None = None
    allow_http: tuple[str, ...] = ()
    pyxis_version: str = "0.21"
    """Of the nodes; CycleCloud's are taken for granted."""
    images: Path | None = None
    """Where images are kept that all nodes of a job start from; None: beside the runs."""

    @property
    def images_folder(self) -> Path:
        return self.images or self.runs_root / ".images"


def load_site(environ: Mapping[str, str] = os.environ) -> Site:
    """The site that `environ` describes; a variable that is empty counts as not set."""
    credentials = environ.get("HPCAI_STORAGE_CREDENTIALS")
    images = environ.get("HPCAI_IMAGES")
    hosts = environ.get("HPCAI_ALLOW_HTTP", "").split(",")
    return Site(
        runs_root=_absolute(environ.get("HPCAI_RUNS_ROOT") or "~/hpcai/runs", environ),
        scratch=environ.get("HPCAI_SCRATCH") or None,
        storage_account=environ.get("AZURE_STORAGE_ACCOUNT") or None,
        storage_endpoint=environ.get("HPCAI_STORAGE_ENDPOINT") or None,
        storage_credentials=_absolute(credentials, environ) if credentials else None,
        allow_http=tuple(host.strip() for host in hosts if host.strip()),
        pyxis_version=_version(environ.get("HPCAI_PYXIS_VERSION") or Site.pyxis_version),
        images=_absolute(images, environ) if images else None,
    )


def _version(text: str) -> str:
    if re.fullmatch(r"\d+\.\d+(\.\d+)?", text) is None:
        raise UsageError(
            f"HPCAI_PYXIS_VERSION is {text!r}.", allowed="A version such as 0.21 or 0.24.0 is needed."
        )
    return text


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The one folder outside a checkout that hpcai writes to: `$XDG_CACHE_HOME/hpcai`."""
    return _absolute(environ.get("XDG_CACHE_HOME") or "~/.cache", environ) / "hpcai"


def _absolute(path: str, environ: Mapping[str, str]) -> Path:
    if path == "~" or path.startswith("~/"):
        home = environ.get("HOME")
        path = f"{home}{path[1:]}" if home else str(Path(path).expanduser())
    return Path(path).absolute()
