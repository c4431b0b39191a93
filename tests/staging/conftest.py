from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcai.staging.control import Container
from hpcai.staging.credentials import find_credentials
from hpcai.staging.location import BlobLocation, parse_location
from tests.real_cluster import RealBlob


@dataclass(frozen=True)
class Store:
    """A container of the test's own in the real emulator, not made yet; `environ` opens it."""

    container: str
    environ: dict[str, str]

    def url(self, prefix: str = "set") -> str:
        return f"azure://{self.container}/{prefix}"

    def through(self, endpoint: str) -> dict[str, str]:
        return {**self.environ, "HPCAI_STORAGE_ENDPOINT": endpoint}

    def writer(self, prefix: str = "set") -> Container:
        location = parse_location(self.url(prefix), self.environ)
        assert isinstance(location, BlobLocation)
        return Container(location, find_credentials(self.environ))


@pytest.fixture
def store(blob: RealBlob) -> Store:
    return Store(f"staging-{uuid.uuid4().hex[:12]}", dict(blob.variables))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return tmp_path / "scratch"
