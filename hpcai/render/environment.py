"""The one Jinja environment, its quoting filters, and the place of the files that ship with hpcai."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from hpcai.errors import RenderError
from hpcai.render.compiled import compiled_templates


def shipped(name: str) -> Path:
    """The folder `templates`, `cluster-configs` or `sbatch`, in an installed wheel or a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_data" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise RenderError(
        f"The folder {name!r} that ships with hpcai is not in {str(package.parent)!r}.",
        next_step="pip install --force-reinstall hpcai",
    )


@cache
def environment() -> jinja2.Environment:
    """An environment in which a name that is not given is an error and nothing is escaped by itself."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("templates")),
        bytecode_cache=compiled_templates(),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    made.filters["quote"] = quote
    made.filters["sbatch"] = sbatch_quote
    return made


def render(template: str, **values: Any) -> str:
    """The text of a template in `templates/`.

    Raises RenderError for a template that is missing, broken, or asks for a value that is not given.
    """
    try:
        return environment().get_template(template).render(**values)
    except jinja2.TemplateError as error:
        raise RenderError(
            f"The template {template!r} cannot be rendered: {type(error).__name__}: {str(error).rstrip('.')}."
        ) from error


def quote(value: object) -> str:
    """One word for bash that stands for exactly this text.

    Raises RenderError for a zero byte, which no word can hold.
    """
    text = str(value)
    if "\0" in text:
        raise RenderError(f"{text!r} holds a zero byte, which no command line can carry.")
    if re.fullmatch(r"[A-Za-z0-9@%_+=:./-]+", text):
        return text
    return "'" + text.replace("'", r"'\''") + "'"


def sbatch_quote(value: object) -> str:
    """One word of an #SBATCH line that stands for exactly this text.

    sbatch is not a shell: there a backslash escapes inside any quotes and `#` starts a comment.
    Raises RenderError for a control character, which no #SBATCH line can hold.
    """
    text = str(value)
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise RenderError(f"{text!r} holds a control character, which no #SBATCH line can carry.")
    if re.fullmatch(r"[A-Za-z0-9@%_+=:,./\[\]-]+", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
