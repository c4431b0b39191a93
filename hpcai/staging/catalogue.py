"""Which data sets lie at a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hpcai.errors import StageError
from hpcai.staging.manifest import MANIFEST_NAME, Manifest
from hpcai.staging.progress import Listener
from hpcai.staging.retry import FIRST_CONTACT, Retrier
from hpcai.staging.source import NoSuchBlob, Source, bare_manifest, open_source


@dataclass(frozen=True)
class Found:
    """A data set and where it is; `problem` says why its manifest cannot be read or used."""

    url: str
    manifest: Manifest | None
    problem: str | None = None


def find_data_sets(
    url: str, environ: Mapping[str, str], listener: Listener
) -> tuple[Manifest | None, list[Found]]:
    """The data set at a URL if there is one, else those in the folders directly below it.

    One at a container's root does not hide those below: then it is the first of them.
    Raises UsageError, NotFoundError, UnreachableError and ToolError.
    """
    retrier = Retrier(FIRST_CONTACT, say=listener.say)
    source = open_source(url, environ)
    entries = retrier.call(url, source.entries)
    is_here = MANIFEST_NAME in entries.files
    is_container = source.above() is None
    # The folders of a data set are its own, but for those of a container.
    folders = entries.folders if is_container or not is_here else ()
    below = _look_at((source.below(name) for name in folders), retrier)
    if is_here and below:
        return None, [*_look_at([source], retrier), *below]
    return (bare_manifest(source, retrier.call) if is_here else None), below


def _look_at(sources: Iterable[Source], retrier: Retrier) -> list[Found]:
    return [found for source in sources if (found := _look(source, retrier)) is not None]


def _look(source: Source, retrier: Retrier) -> Found | None:
    try:
        return Found(source.url, bare_manifest(source, retrier.call))
    except NoSuchBlob:
        return None
    except StageError as error:
        return Found(source.url, None, error.what)
