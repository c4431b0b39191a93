"""Where this site keeps runs, scratch and storage, read from the config files and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcai.homes import home_path
from hpcai.specs.settings import Settings, load_settings


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
    image_cache: Path | None = None
    secrets_folder: Path | None = None
    partitions: Mapping[str, str] = field(default_factory=dict)
    """Partition -> VM size of its nodes."""
    region: str | None = None
    shared_folders: tuple[str, ...] = ()
    spot_partitions: tuple[str, ...] = ()
    pyxis_version: str | None = None
    enroot_version: str | None = None
    settings: Settings = field(default_factory=lambda: Settings({}, {}), repr=False, compare=False)
    """Where each of these was said, and what holds for jobs."""

    @property
    def own_secrets(self) -> Path:
        """This user's own folder for secrets that wait for their job: never inside a record."""
        return self.secrets_folder or self.runs_root.parent / f".hpcai-secrets-{os.getuid()}"

    @property
    def images(self) -> Path:
        """The folder of images that are imported once for all nodes of a job."""
        return self.image_cache or self.runs_root / ".images"


def load_site(environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> Site:
    """The site as config files and `environ` describe it; a variable that is empty counts as not set.

    Raises SpecFileError, UsageError for a config file that is wrong.
    """
    settings = load_settings(environ, folder)
    values = settings.values
    return Site(
        runs_root=Path(values["runs_root"]),
        scratch=values.get("scratch"),
        storage_account=values.get("storage_account"),
        storage_endpoint=values.get("storage_endpoint"),
        storage_credentials=_path(values.get("storage_credentials")),
        allow_http=tuple(values.get("allow_http", ())),
        image_cache=_path(values.get("image_cache")),
        secrets_folder=_path(values.get("secrets_folder")),
        partitions=values.get("partitions", {}),
        region=values.get("region"),
        shared_folders=tuple(values.get("shared_folders", ())),
        spot_partitions=tuple(values.get("spot_partitions", ())),
        pyxis_version=values.get("pyxis_version"),
        enroot_version=values.get("enroot_version"),
        settings=settings,
    )


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The one folder outside a checkout that hpcai writes to: `$XDG_CACHE_HOME/hpcai`."""
    return home_path(environ.get("XDG_CACHE_HOME") or "~/.cache", environ) / "hpcai"


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
