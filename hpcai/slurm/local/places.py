"""Where an embedded cluster keeps what. Only this module knows the names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import UsageError

DEFAULT = "default"
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Place:
    """The files of one cluster."""

    cache: Path
    name: str

    @property
    def state(self) -> Path:
        return self.cache / "local" / self.name

    @property
    def lock(self) -> Path:
        return self.cache / "local" / f".{self.name}.lock"

    @property
    def shape(self) -> Path:
        """What was asked for: written by `up`, read by everything else."""
        return self.state / "cluster.json"

    @property
    def daemons(self) -> Path:
        """What runs: written by the supervisor only."""
        return self.state / "daemons.json"

    @property
    def ready(self) -> Path:
        """Exists from when the cluster has come up until it is taken down."""
        return self.state / "ready"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def blob_credentials(self) -> Path:
        return self.state / "secrets" / "blob.json"

    @property
    def database(self) -> Path:
        """MariaDB's own folder."""
        return self.state / "database"

    @property
    def database_secret(self) -> Path:
        """What MariaDB reads at its start, the password in it."""
        return self.state / "secrets" / "database.sql"

    @property
    def accounts(self) -> Path:
        """Exists from when the user has an account, until the cluster is taken down."""
        return self.state / "accounts"

    def killed_mark(self, node: str) -> Path:
        """Exists while a node is to stay dead."""
        return self.state / "killed" / node


def place(cache: Path, name: str) -> Place:
    """The place of a cluster. Raises UsageError when the name cannot be one."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a cluster.",
            allowed="A name is 1 to 32 of a-z, 0-9 and '-', and starts with a letter.",
        )
    return Place(cache, name)
