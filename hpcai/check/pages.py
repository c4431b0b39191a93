"""docs/checks.md, made from the table of findings."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.check.findings import Known, known

_HEAD = """# What `hpcai check` finds

Every finding has a severity, an id, a place (`FILE:LINE:COLUMN` where it is about a file) and a next step.
An `error` keeps a job from running; a `warning` may, or wastes what is paid for; a `note` is worth knowing,
or says what could not be looked at from here; an `ok` was looked at and is as it should be. This page is
made from `hpcai/check/findings.csv`.

The column *failure* counts the fifteen ways in which containers are known to fail with Pyxis and Enroot, by
what people have reported. Those that a job's file cannot run into, since scripts are rendered without them,
are looked for in scripts.

A script with #SBATCH lines is read as sbatch and bash read it, and never run. Of its variables those count
that its own shell assigns whatever happens, `NAME=value`, `NAME=(words)`, `export NAME=value`, above where
they are used, besides `HOME`, `USER`, `PWD` and `SLURM_SUBMIT_DIR`; what a branch, a loop, a function, an
argument or a program's output may change is not known, and nothing is said of it but that it was not looked
at. Relative paths are those of the folder in which you type `hpcai check`. What stands in a branch or a
loop, or behind a line that runs another text, is a warning at most, as is what a program above it may still
make: the folder of a `git clone`, the image of a `./prepare.sh`.
"""
_PARTS = (
    ("Files, jobs and steps", ("file", "job")),
    ("Scripts with #SBATCH lines alone", ("script",)),
    ("Clusters", ("cluster",)),
    ("This site", ("site",)),
    ("A node, with --nodes", ("node",)),
)


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_part(title, of) for title, of in _PARTS)


def _part(title: str, of: tuple[str, ...]) -> str:
    lines = ["| id | severity | of | failure | what | source |", "|---|---|---|---|---|---|"]
    return f"\n## {title}\n\n" + "\n".join([*lines, *_rows(of)]) + "\n"


def _rows(of: tuple[str, ...]) -> Iterator[str]:
    for one in known().values():
        if one.of.split(", ")[0] in of:
            yield f"| `{one.id}` | {one.severity} | {one.of} | {_number(one)} | {one.what} | {one.source} |"


def _number(one: Known) -> str:
    return "" if one.failure is None else str(one.failure)
