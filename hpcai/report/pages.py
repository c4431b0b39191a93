"""The templates of a report, filled: one page model, two texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcai import __version__
from hpcai.report.style import DARK, LIGHT, Plot
from hpcai.report.tables import Table

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Page:
    """Everything that a report says; cells and sentences are plain text."""

    title: str
    headline: list[str]
    problems: list[str]
    cards: list[tuple[str, str, str]]
    results: Table
    plots: dict[str, Plot]
    throughput: Table
    smells: list[str]
    waterfall: Table
    no_time: str
    lost: list[tuple[str, float]]
    transfers: Table
    attempts: Table
    last_words: list[tuple[str, str]]
    environment: Table
    sources: list[tuple[str, str, str]]
    again: list[tuple[str, str]]
    notes: list[str]
    idents: list[str]


def render_html(page: Page) -> str:
    """One page that needs nothing beside it and no network."""
    return _render("report.html.j2", page)


def render_markdown(page: Page, links: Sequence[tuple[str, str | None, str]]) -> str:
    """Markdown as GitHub reads it; its figures are figures/<name>.svg.

    `links` are each run's label, spec and script: the files lie beside it and need not be in it.
    """
    return _render("report.md.j2", page, links=links)


def _render(template: str, page: Page, **more: Any) -> str:
    values = more | {field.name: getattr(page, field.name) for field in fields(page)}
    return _environment().get_template(template).render(values, version=__version__, light=LIGHT, dark=DARK)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = markdown_cell
    environment.filters["fenced"] = fenced
    return environment


def markdown_cell(text: str) -> str:
    """Text that stays within its cell of a Markdown table and means itself."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def fenced(text: str, language: str = "") -> str:
    """Text as a Markdown code block, whatever it holds."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
