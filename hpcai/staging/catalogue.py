"""Which data sets lie at a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcai.staging.manifest import MANIFEST_NAME, Manifest, ManifestError
from hpcai.staging.progress import Listener
from hpcai.staging.retry import FIRST_CONTACT, Retrier
from hpcai.staging.source import NoSuchBlob, Source, bare_manifest, open_source


@dataclass(frozen=True)
class Found:
    """A data set and where it is; `problem` says why its manifest cannot be used."""

    url: str
    manifest: Manifest | None
    problem: str | None = None


def find_data_sets(
    url: str, environ: Mapping[str, str], listener: Listener
) -> tuple[Manifest | None, list[Found]]:
    """The data set at a URL if there is one, else those in the folders directly below it.

    Raises UsageError, NotFoundError, UnreachableError and ToolError.
    """
    retrier = Retrier(FIRST_CONTACT, say=listener.say)
    source = open_source(url, environ)
    entries = retrier.call(url, source.entries)
    if MANIFEST_NAME in entries.files:
        return bare_manifest(source, retrier.call), []
    found = (_look(source.below(name), retrier) for name in entries.folders)
    return None, [each for each in found if each is not None]


def _look(source: Source, retrier: Retrier) -> Found | None:
    try:
        return Found(source.url, bare_manifest(source, retrier.call))
    except NoSuchBlob:
        return None
    except ManifestError as error:
        return Found(source.url, None, error.what)
