"""docs/why.md, made from the tables of causes."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.check.why.table import Cause, causes

_HEAD = """# What `hpcai why` tells

`hpcai why ID` tells in one sentence why a job waits, is not running as wished, or how it ended; then what
that is known from (a field of Slurm, `FILE:LINE` of a log, a node's state), and what to type next. `-q`
prints the id of the case, `-o json` everything. A part in brackets is told where its values are known.
Steps with `srun` run on a node; where nodes start on demand, Slurm starts one for them.
This page is made from `hpcai/check/why/causes`, in the order in which causes are tried;
[a decision](decisions/017-the-most-telling-line.md) says which line of many logs counts.

The column *tells* is how much a line of a log tells: a `cause` says itself why a rank failed, a `symptom`
that another rank did; a `stumble` many programs get over, unless an exception of it ended one; a `wrapper`
tells that something failed. *failure* counts the fifteen ways in which containers
are known to fail, as in [Checks](checks.md). What Azure says comes from a
[cluster status](cluster-status.md).
"""
_PARTS = {
    "waiting": "Jobs that wait, by Slurm's reason",
    "azure": "Azure's reasons",
    "states": "States of Slurm",
    "containers": "Logs: Pyxis and Enroot",
    "gpus": "Logs: GPUs and NCCL",
    "ranks": "Logs: ranks and what starts them",
    "programs": "Logs: programs and Python",
    "machines": "Logs: memory, disks and networks of nodes",
    "fallback": "Where nothing else is known",
}


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_part(of, title) for of, title in _PARTS.items())


def _part(of: str, title: str) -> str:
    rows = [one for one in causes().values() if one.of == of]
    is_of_logs = title.startswith("Logs")
    head = "| id | tells | failure | what | source |" if is_of_logs else "| id | what | source |"
    lines = [head, "|---|---|---|---|---|" if is_of_logs else "|---|---|---|", *_rows(rows, is_of_logs)]
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n"


def _rows(rows: list[Cause], is_of_logs: bool) -> Iterator[str]:
    for one in rows:
        says = one.says.replace("|", "\\|")
        number = "" if one.failure is None else str(one.failure)
        more = f" {one.strength} | {number} |" if is_of_logs else ""
        yield f"| `{one.id}` |{more} {says} | {one.source} |"
