"""`hpcai data`: data sets, packed here, kept in Blob, pulled to the nodes."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.data_progress import TransferLine, transfer_line
from hpcai.cli.groups import CommandGroup
from hpcai.cli.numbers import FiniteRange
from hpcai.cli.output import emit_object, emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from hpcai.staging.manifest import Manifest
    from hpcai.staging.pull import Pulled

_FOLDER = click.Path(path_type=Path)
_PULL_STOPPED = "Stopped. What has been downloaded stays; the next pull goes on from there."
_PUSH_STOPPED = "Stopped. Nobody sees half a data set; the next push goes on from there."


@click.group(cls=CommandGroup)
def data() -> None:
    """Pack, push, pull and list data sets.

    A URL is azure://CONTAINER/PREFIX (the account is AZURE_STORAGE_ACCOUNT), an https Blob URL, or
    file:///FOLDER. Keys come from the file that HPCAI_STORAGE_CREDENTIALS names, never from the command line.
    """


@data.command()
@click.argument("src", type=_FOLDER)
@click.argument("dst", type=_FOLDER)
@click.option("--name", required=True, help="The data set's name: letters, digits, '.', '_' and '-'.")
@click.option(
    "--shard-mib", type=FiniteRange(min=0.01), default=128, show_default=True, help="Size of a shard."
)
@output_option
@quiet_option("the data set's version")
def pack(src: Path, dst: Path, name: str, shard_mib: float, output: str, quiet: bool) -> None:
    """Pack folders of images into tar shards.

    SRC holds train/CLASS/IMAGE and val/CLASS/IMAGE, or CLASS/IMAGE alone (JPEG or PNG). DST is made whole or
    not at all; the same input gives the same bytes and version.

    \b
    Exit status 2: DST holds something else, or NAME is no name. 5: SRC does not exist.
    7: SRC has no classes, an empty class, what is no image or cannot be read, or splits whose classes differ;
    DST cannot be written.
    """
    from hpcai.staging.pack import MIB
    from hpcai.staging.pack import pack as pack_folder

    with transfer_line("samples") as line:
        manifest = pack_folder(src, dst, name=name, shard_bytes=int(shard_mib * MIB), told=line.told)
    say(f"Packed {manifest.samples:,} samples of {len(manifest.class_names)} classes into {dst}.")
    say(f"Next: {shlex.join(['hpcai', 'data', 'push', str(dst), f'azure://CONTAINER/{name}'])}")
    _emit_data_set(manifest, str(dst), output, quiet)


@data.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("url")
@click.option("--replace", is_flag=True, help="Replace another data set that lies at URL.")
@output_option
@quiet_option("the data set's version")
def push(folder: Path, url: str, replace: bool, output: str, quiet: bool) -> None:
    """Upload a packed data set.

    The container is made if it is missing. Shards that lie there already are not sent again, and the manifest
    comes last, so that nobody reads half a data set. With --replace the older version goes only when all of
    this one has been verified and sent.

    \b
    Exit status 2: URL is no folder in Blob, or holds another data set. 4: refused. 5: DIR holds no data set.
    6: no answer. 7: a shard of DIR is missing, damaged or cannot be read.
    """
    from hpcai.staging.progress import Listener
    from hpcai.staging.push import push as push_folder

    with transfer_line("bytes") as line, _ended_at_once(line, _PUSH_STOPPED):
        done = push_folder(
            folder, url, _environ(url), replace=replace, listener=Listener(line.say, line.told)
        )
    say(f"Pushed to {done.url}, version {done.manifest.version}.")
    _emit_data_set(done.manifest, done.url, output, quiet)


@data.command()
@click.argument("url")
@click.option("--to", type=_FOLDER, help="The folder to fill, instead of the cache below the scratch.")
@click.option("--scratch", type=_FOLDER, help="This node's scratch. [default: HPCAI_SCRATCH]")
@click.option("--link", "link_path", type=_FOLDER, help="Also make this link to the data set.")
@click.option("--version", help="The version that must be there: 32 digits, or the first 8 or more.")
@click.option(
    "--verify", is_flag=True, help="Read all that is here already, also what nobody has written to."
)
@click.option("--record", type=_FOLDER, help="Add a line on this pull to this file (JSON lines).")
@output_option
@quiet_option("the folder's path")
def pull(
    url: str,
    to: Path | None,
    scratch: Path | None,
    link_path: Path | None,
    version: str | None,
    verify: bool,
    record: Path | None,
    output: str,
    quiet: bool,
) -> None:
    """Bring a data set to this machine, verified.

    What is here already is not downloaded again; a shard that was written to since it was verified is read,
    and what is wrong of it is repaired. Several pulls of one data set on one node download it once. Killed at
    any moment, the next pull goes on.

    \b
    Exit status 2: URL is no source, or the folder holds something else. 4: refused. 5: no such container,
    data set or version. 6: no answer. 7: damaged or changed at the source, or no space here.
    """
    if to is not None and scratch is not None:
        raise click.UsageError("--to and --scratch both name a place. Give one of them.")
    environ = _environ(url)
    done = _pulled(url, environ, to, scratch, version, verify)
    if link_path is not None:
        _link(link_path, done)
    say(_closing(done, verify))
    name = link_path.name if link_path is not None else done.name
    row = done.record(data=name, source=url, attempt=_attempt(environ))
    if record is not None:
        _append(record, row)
    if quiet or output == "table":
        put(done.path)
    else:
        emit_object(row, output)


def _pulled(
    url: str,
    environ: Mapping[str, str],
    to: Path | None,
    scratch: Path | None,
    version: str | None,
    verify: bool,
) -> Pulled:
    from hpcai.staging.progress import Listener
    from hpcai.staging.pull import pull

    folder = None if to is not None else scratch or _scratch(environ)
    with transfer_line("bytes") as line, _ended_at_once(line, _PULL_STOPPED):
        listener = Listener(line.say, line.told)
        return pull(url, environ, to=to, scratch=folder, version=version, verify=verify, listener=listener)


def _link(path: Path, done: Pulled) -> None:
    from hpcai.staging.node_cache import link

    link(path, done.path)


@data.command("ls")
@click.argument("url")
@output_option
@quiet_option("the URLs (of one data set: the paths of its shards)")
def list_(url: str, output: str, quiet: bool) -> None:
    """List the data sets below a URL, or the shards of the one that is there.

    \b
    Exit status 2: URL is no source. 4: refused. 5: no such container or folder. 6: no answer.
    7: URL is a folder that cannot be read. Nothing found is 0, and said on stderr.
    """
    from hpcai.staging.catalogue import find_data_sets
    from hpcai.staging.progress import Listener

    here, below = find_data_sets(url, _environ(url), Listener(say))
    if here is not None:
        _emit_shards(here, output, quiet)
        return
    for each in below:
        if each.problem is not None:
            say(each.problem)
    if not below:
        say(f"There is no data set at {url} or directly below it.")
    rows = [_row(each.manifest, each.url) for each in below if each.manifest is not None]
    if rows or output != "table":
        _emit(rows, _COLUMNS, "url", "data_sets", output, quiet)


_COLUMNS = ("name", "version", "samples", "classes", "shards", "bytes", "url")


def _row(manifest: Manifest, url: str) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "samples": manifest.samples,
        "classes": len(manifest.class_names),
        "shards": len(manifest.shards()),
        "bytes": manifest.bytes,
        "url": url,
    }


def _emit_data_set(manifest: Manifest, url: str, output: str, quiet: bool) -> None:
    _emit([_row(manifest, url)], _COLUMNS, "version", "data_sets", output, quiet)


def _emit_shards(manifest: Manifest, output: str, quiet: bool) -> None:
    rows = [
        {
            "path": shard.path,
            "split": split,
            "samples": shard.samples,
            "bytes": shard.bytes,
            "etag": shard.etag,
        }
        for split, part in manifest.splits.items()
        for shard in part.shards
    ]
    _emit(rows, ("path", "split", "samples", "bytes", "etag"), "path", "shards", output, quiet)


def _emit(
    rows: list[dict[str, Any]], columns: tuple[str, ...], id_column: str, kind: str, output: str, quiet: bool
) -> None:
    if quiet:
        for row in rows:
            put(row[id_column])
    else:
        emit_rows(rows, columns, output, kind=kind)


def _closing(done: Pulled, verify: bool) -> str:
    how = "what was fetched is verified" if done.event == "done" else "unchanged since it was verified"
    if verify:
        how = "all of it is verified"
    return f"{done.name} is ready after {done.seconds:.1f} s, {how}."


def _environ(url: str) -> Mapping[str, str]:
    """This process's environment, with the embedded cluster's storage where no account is named."""
    if url.startswith("azure:") and not os.environ.get("AZURE_STORAGE_ACCOUNT"):
        from hpcai.cli.context import find_context

        find_context()
    return os.environ


def _scratch(environ: Mapping[str, str]) -> Path:
    text = environ.get("HPCAI_SCRATCH", "")
    node = environ.get("SLURMD_NODENAME", "")
    if not text or ("%n" in text and not node):
        why = f"HPCAI_SCRATCH is {text!r} and this is no Slurm node" if text else "HPCAI_SCRATCH is not set"
        raise click.UsageError(f"There is no folder to pull to: {why}.\nGive --to DIR or --scratch DIR.")
    return Path(text.replace("%n", node))


def _attempt(environ: Mapping[str, str]) -> int:
    text = environ.get("HPCAI_ATTEMPT", "")
    return int(text) if text.isdigit() else 0


def _append(path: Path, row: dict[str, object]) -> None:
    from hpcai.errors import StageError
    from hpcai.runs.jsonl import append
    from hpcai.units import utc_now

    try:
        append(path, {**row, "time": utc_now()})
    except StageError as error:
        # The data is here: a record that cannot be written is no reason to fail the job.
        say(f"No record was written: {error.what}")


@contextmanager
def _ended_at_once(line: TransferLine, words: str) -> Iterator[None]:
    """Inside, SIGTERM (Slurm's first word to a job that must go) and Ctrl-C end the process, after `words`.

    Without the usual unwinding, which would wait for every request that is under way: what a transfer leaves
    is right at any moment, and the kernel lets go of its locks.
    """

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        line.say(words)
        os._exit(128 + number)

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
