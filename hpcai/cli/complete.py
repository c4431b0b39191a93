"""Completion in a shell within 100 ms: it imports next to nothing and opens no record for a run's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

_MOST = 200
_MOST_NUMBERS = 20


def complete_ident(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Names and job ids of runs that begin so, newest first; from the records alone, Slurm is not asked."""
    from click.shell_completion import CompletionItem

    from hpcai.runs.names import list_names
    from hpcai.specs.site import load_site

    root = load_site().runs_root
    runs = [(name, f"{experiment}/{name}") for experiment, name in list_names(root)]
    words = [("@last", ident) for _, ident in runs[:1]]
    words += [(ident if "/" in incomplete else name, ident) for name, ident in runs]
    if incomplete.isdigit():
        words += [(_job_id(root / ident), ident) for _, ident in runs[:_MOST_NUMBERS]]
    fitting = [(word, ident) for word, ident in words if word.startswith(incomplete)]
    return [CompletionItem(word, help=ident) for word, ident in fitting[:_MOST] if word]


def complete_cluster(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Names of embedded clusters that begin so, up or down."""
    from click.shell_completion import CompletionItem

    from hpcai.slurm.local.cluster import known

    return [CompletionItem(name) for name in known() if name.startswith(incomplete)]


def complete_vm_size(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """VM sizes that begin so, in any case and with or without `Standard_`."""
    from click.shell_completion import CompletionItem

    from hpcai.catalog.sizes import vm_sizes
    from hpcai.errors import HpcaiError

    prefix, word = "standard_", incomplete.lower()
    try:
        names = list(vm_sizes())
    except HpcaiError:
        # Whoever presses Tab is not told what is wrong in a file.
        return []
    fitting = [name for name in names if name.lower().startswith(word)]
    if not fitting:
        bare = {name: name.lower().removeprefix(prefix) for name in names}
        # A shell keeps what was typed: the completed word begins so, too.
        fitting = [
            incomplete + name[-len(rest) :][len(word) :]
            for name, rest in bare.items()
            if rest.startswith(word)
        ]
    return [CompletionItem(name) for name in fitting[:_MOST]]


def _job_id(folder: Path) -> str:
    """The run's job id, empty when the owner's client has not written it down."""
    from hpcai.errors import StageError
    from hpcai.runs import jsonl
    from hpcai.runs.paths import RunPaths

    try:
        events = jsonl.read(RunPaths(folder).events)
    except StageError:
        return ""
    return next((str(event["job_id"]) for event in reversed(events) if event.get("job_id")), "")
