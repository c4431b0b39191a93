"""The look of every plot: sizes, colours that colour-blind people can tell apart, and SVG for both themes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito ("Color Universal Design", 2008) without its yellow, which vanishes on white.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, MUTED, GRID, PAPER = "#1b1f24", "#57606b", "#dce1e6", "#ffffff"
STAGES = {
    "queued": "#b7bec6",
    "staging": "#56b4e9",
    "starting": "#e69f00",
    "training": "#0072b2",
    "running": MUTED,
    "evaluating": "#cc79a7",
    "saving": "#009e73",
    "ending": "#8c959e",
    "lost": "#d55e00",
}
# What the page's style sheet sets anew for the dark theme: the name of a variable and both colours.
LIGHT = {
    "--plot-ink": INK,
    "--plot-muted": MUTED,
    "--plot-grid": GRID,
    "--plot-paper": PAPER,
    **{f"--plot-series-{index}": colour for index, colour in enumerate(SERIES)},
    **{f"--plot-{name}": colour for name, colour in STAGES.items() if colour not in (*SERIES, MUTED)},
}
DARK = {
    "--plot-ink": "#e6eaee",
    "--plot-muted": "#9aa5b1",
    "--plot-grid": "#30363d",
    "--plot-paper": "#14171c",
    "--plot-series-0": "#4ba3dc",
    "--plot-series-1": "#f0803c",
    "--plot-series-2": "#2dbf92",
    "--plot-series-3": "#dc9dbd",
    "--plot-series-4": "#e9b23c",
    "--plot-series-5": "#7cc6f0",
    "--plot-queued": "#5b646e",
    "--plot-ending": "#7d8792",
}

_LEGEND_ROW_IN = 0.2
_LONGEST_OF_TWO = 26

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.linewidth": 0.8,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Plot:
    """One picture: `name` is its file's stem, `says` what a person who cannot see it should know."""

    name: str
    says: str
    svg: str
    is_wide: bool = False
    caption: str | None = None

    @property
    def file_svg(self) -> str:
        """The picture on white, for a file of its own."""
        return re.sub(
            r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="#ffffff"/>', self.svg, count=1
        )

    @property
    def inline_svg(self) -> str:
        """The picture as part of a page, whose style sheet sets its colours."""
        svg = self.svg[self.svg.index("<svg ") :]
        svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
        svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
        # Several pictures stand in one page, where an id may occur only once.
        svg = re.sub(r'\bid="', f'id="{self.name}-', svg)
        svg = re.sub(r'(href="|url\()#', rf"\1#{self.name}-", svg)
        for variable, colour in LIGHT.items():
            svg = svg.replace(colour, f"var({variable})")
        return svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(self.says)}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def applied() -> AbstractContextManager[None]:
    """The style, while pictures are drawn."""
    import matplotlib

    context: AbstractContextManager[None] = matplotlib.rc_context(_RC)
    return context


def new_figure(width_in: float, height_in: float, legend: Legend | None) -> tuple[Figure, Axes]:
    """An empty figure that is higher by what its legend needs."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Not pyplot, which keeps every figure.
    more_in = _LEGEND_ROW_IN * max(0, legend.rows - 2) if legend else 0.0
    figure = Figure(figsize=(width_in, height_in + more_in), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def to_svg(figure: Figure, salt: str) -> str:
    """The figure as SVG text, byte for byte the same for the same figure and salt."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(
            text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return text.getvalue()


def colour_of(index: int) -> str:
    return SERIES[index % len(SERIES)]


def dash_of(index: int) -> Any:
    """A line style, so that lines can be told apart without their colours."""
    return DASHES[index % len(DASHES)]


def marker_of(index: int) -> str:
    return "os^Dv"[index % 5]


@dataclass(frozen=True)
class Legend:
    """A legend below the plot, where it hides no data."""

    columns: int
    rows: int

    @staticmethod
    def of(labels: Sequence[str]) -> Legend:
        """The legend of these labels: two columns when two of them fit side by side."""
        columns = 2 if max(map(len, labels)) <= _LONGEST_OF_TWO else 1
        return Legend(columns, -(-len(labels) // columns))

    def draw(self, axes: Axes) -> None:
        place = "outside lower left"
        axes.figure.legend(loc=place, ncols=self.columns, handlelength=2.6, columnspacing=1.4)


def thousands(axes: Axes) -> None:
    """Makes large values of the vertical axis readable."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def shortened(label: str, longest: int = 34) -> str:
    """A label that leaves room for the plot: its beginning and, where runs differ most, its end."""
    if len(label) <= longest:
        return label
    head = longest // 3
    return f"{label[:head]}…{label[head + 1 - longest :]}"
