"""Secrets: what by its name or form is one and stands in the open, and references that do not open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError
from hpcai.specs.job import JobSpec
from hpcai.specs.secrets import parse_reference

_LIKE_A_SECRET = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CONNECTION_STRING)$", re.IGNORECASE
)
# What services give out in a form of their own -> whose it is.
_FORMS = {
    "Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "GitHub": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "GitLab": re.compile(r"\bglpat-[\w-]{20,}"),
    "OpenAI or Anthropic": re.compile(r"(?<![\w./-])sk-(?=[\w-]*\d)[\w-]{32,}"),
    "Amazon": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "Azure Storage": re.compile(r"[?&]sig=[A-Za-z0-9%/+=]{20,}|AccountKey=[A-Za-z0-9/+=]{40,}"),
    "a service that signs its tokens": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
# `export NAME=value`, unless the value is another variable's or a program's.
_ASSIGNED = re.compile(r"""(?:^|[\s;&|(])(\w+)=["']?([^\s"'$`<;&|)][^\s"'`;&|)]*)""")
# Switches, counts of tokens, places of secrets, and what only stands for a value.
_NO_SECRET = re.compile(
    r"\w*TOKEN=\d{1,7}|\w+=([01]|true|false|yes|no|on|off|none|null|<[^<>]*>|(FILE:)?(~|\.\.?)?/[\w./${}-]*)?",
    re.IGNORECASE,
)


def secrets_in_sight(spec: JobSpec) -> Iterator[Finding]:
    """A warning per text of the job that holds a secret by its name or form, whose value is not told.

    What surely is one by its key, no file may hold.
    """
    for name, value in spec.env.items():
        owner = _owner(value)
        if _is_named_so(name, value):
            what = f"{name!r} looks like a secret, and env stands in the script and in the run's record."
            fix = f"Put it under secrets:, such as {name}: file:/PATH (of mode 0600) or {name}: env:NAME."
            yield Finding("secret-in-env", "warning", f"env.{name}", what, fix)
        elif owner:
            yield _in_text(f"env.{name}", owner, name)
    texts = [*spec.commands]
    texts += [
        (f"{key}[{at}]", one) for key in ("setup", "teardown") for at, one in enumerate(getattr(spec, key))
    ]
    for where, text in texts:
        owner, named = _seen(text)
        if owner:
            yield _in_text(where, owner, named or "NAME")


def secrets_in_script(text: str) -> Iterator[Finding]:
    """A warning per line of a script that holds a secret, whose value is not told."""
    for number, line in enumerate(text.splitlines(), start=1):
        owner, named = _seen("" if line.startswith("#!") else line)
        if owner:
            what = (
                f"Here stands what looks like a secret ({owner}); the run's copy of the script shows it too."
            )
            fix = f"Keep it in a file of mode 0600, and write {named or 'NAME'}=$(cat FILE)."
            yield Finding("secret-in-text", "warning", "script", what, fix, f"{number}:1")


def _seen(text: str) -> tuple[str | None, str | None]:
    """Whose secret stands in a text, None where none is seen, and the variable that it is given to."""
    named = next((name for name, value in _ASSIGNED.findall(text) if _is_named_so(name, value)), None)
    return _owner(text) or (f"{named} by its name" if named else None), named


def _is_named_so(name: str, value: str) -> bool:
    """Whether a variable is named like a secret, and its value may be one."""
    return _LIKE_A_SECRET.search(name) is not None and _NO_SECRET.fullmatch(f"{name}={value}") is None


def _owner(text: str) -> str | None:
    """Whose secret stands in a text; None where none is seen."""
    return next((owner for owner, form in _FORMS.items() if form.search(text)), None)


def _in_text(where: str, owner: str, name: str) -> Finding:
    what = f"Here stands what looks like a secret ({owner}); script and record show it to all who read them."
    fix = f"Put it under secrets:, such as {name}: file:/PATH (of mode 0600), and write ${name} here."
    return Finding("secret-in-text", "warning", where, what, fix)


def secrets_by_reference(spec: JobSpec, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each secret can be read here; its value is told to nobody."""
    if not spec.secrets:
        return
    from hpcai.staging.secrets import read_here

    for variable, text in spec.secrets.items():
        where = f"secrets.{variable}"
        try:
            if read_here(variable, parse_reference(text), environ) is None:
                what = f"Whether {text} opens, only the node that reads it can tell."
                fix = "The identity of the nodes needs the role Key Vault Secrets User."
                yield Finding("secret-only-on-nodes", "note", where, what, fix)
        except HpcaiError as error:
            fix = " ".join(part for part in (error.allowed, error.next_step) if part)
            yield Finding("secret-unreadable", "error", where, error.what, fix or None)
