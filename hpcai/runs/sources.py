"""Which files of a folder are its code: what git tracks or would, or all but what ignore files leave out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpcai import shell
from hpcai.errors import StageError, ToolError
from hpcai.runs.ignore import Rule, rules, verdict

# The patterns of these win over those of .gitignore, and the last over the first.
OWN_IGNORES = (".amlignore", ".hpcaiignore")
_ALWAYS_OUT = {".git", ".hg", ".svn"}
_GIT_TIMEOUT_S = 120.0


def sources_of(folder: Path) -> Iterator[str]:
    """The names of all files and links, relative to the folder. Raises OSError, StageError."""
    own = [rule for name in OWN_IGNORES for rule in _rules_of(folder / name)]
    listed = _of_git(folder) or list(_walk(folder, ignores=True))
    yield from (name for name in listed if not _is_out(name, own))
    if any(not rule.leaves_out for rule in own):
        # What .gitignore leaves out and these take in again.
        yield from (name for name in _walk(folder, ignores=False) if _is_in(name, own))


def _rules_of(path: Path, base: str = "") -> list[Rule]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    return rules(text.splitlines(), base)


def _is_out(name: str, own: Sequence[Rule]) -> bool:
    """Whether the file, or a folder above it, is left out."""
    return bool(verdict(name, own, is_folder=False)) or any(
        verdict(one, own, is_folder=True) for one in _above(name)
    )


def _is_in(name: str, own: Sequence[Rule]) -> bool:
    """Whether the file, or a folder above it, is taken in by name."""
    verdicts = [verdict(name, own, is_folder=False)]
    verdicts += [verdict(one, own, is_folder=True) for one in _above(name)]
    return False in verdicts and True not in verdicts


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _walk(folder: Path, base: str = "", above: Sequence[Rule] = (), *, ignores: bool) -> Iterator[str]:
    """All files and links, with `ignores` but those that the .gitignore files on the way leave out."""
    ordered = [*above, *(_rules_of(folder / ".gitignore", base) if ignores else [])]
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = base + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name in _ALWAYS_OUT or verdict(name, ordered, is_folder=is_folder):
            continue
        if is_folder:
            yield from _walk(folder / entry.name, f"{name}/", ordered, ignores=ignores)
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            yield name


def _of_git(folder: Path) -> list[str] | None:
    """What git tracks here and what is not tracked and not ignored; None where there is no git."""
    tracked = _git(folder, "ls-files", "-s", "-z")
    if tracked is None:
        return None
    names: list[str] = []
    inside: list[str] = []
    for line in filter(None, tracked.split("\0")):
        fields, _, name = line.partition("\t")
        (inside if fields.startswith("160000") else names).append(name)
    for name in filter(None, (_git(folder, "ls-files", "-o", "--exclude-standard", "-z") or "").split("\0")):
        # A repository within, which git does not track, is listed as a folder.
        (inside if name.endswith("/") else names).append(name.rstrip("/"))
    for module in inside:
        names += [f"{module}/{name}" for name in _within(folder / module)]
    _refuse_unreadable_names(folder, names)
    return names


def _refuse_unreadable_names(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        # What stands for a byte that is no UTF-8; such a file would be left out without a word.
        if "\ufffd" in name and not os.path.lexists(folder / name):
            raise StageError(
                f"The code in {str(folder)!r} holds a file whose name is not UTF-8: {name!r}.",
                next_step="Give it another name.",
            )


def _within(folder: Path) -> list[str]:
    if not (folder / ".git").exists():
        # A submodule that was never fetched.
        return []
    return _of_git(folder) or []


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, or no repository of this user."""
    # Variables of a hook that calls us would name another repository.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = shell.run(
            ["git", "-C", folder, *words], timeout_s=_GIT_TIMEOUT_S, env={**environ, "LC_ALL": "C.UTF-8"}
        )
    except ToolError:
        return None
    return done.stdout


def provenance(folder: Path) -> dict[str, Any]:
    """Where the code comes from, as git tells; the remote without credentials. {} where there is no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if _git(folder, "rev-parse", "--show-toplevel") is None:
        return {}
    branch = (_git(folder, "symbolic-ref", "--short", "-q", "HEAD") or "").strip()
    remote = (_git(folder, "remote", "get-url", "origin") or "").strip()
    status = _git(folder, "status", "--porcelain", "-z", "--", ".")
    return {
        "commit": commit.strip() if commit else None,
        "branch": branch or None,
        "remote": without_credentials(remote) or None,
        "is_changed": bool(status),
    }


def changes(folder: Path) -> str:
    """What differs from the commit, as a diff of text; '' where nothing does or there is no git."""
    return _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ".") or ""


def without_credentials(url: str) -> str:
    """The remote's URL without what may open it: user, password, query."""
    if "://" not in url:
        return url
    url = re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", url, flags=re.IGNORECASE)
    return re.split(r"[?#]", url)[0]
