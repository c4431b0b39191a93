"""Pictures: nothing is cut off, whatever names and numbers there are, and text can be read in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hpcai.report import plots, style
from hpcai.report.build import throughput_points
from hpcai.report.collect import collect
from hpcai.runs.record import Run
from tests.report import samples


def draw(runs: list[Run]) -> dict[str, Figure]:
    """The figures of runs by name, as they are before they become SVG."""
    figures: dict[str, Figure] = {}

    def keep(figure: Figure, salt: str) -> str:
        figure.draw_without_rendering()
        figures[salt] = figure
        return "<svg />"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "to_svg", keep)
        facts = collect(runs)
        plots.all_of(facts, throughput_points(facts))
    return figures


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    root = tmp_path_factory.mktemp("runs")
    two = samples.trained_run(root, "digits-2node-20261118-110640", 2, 262.0)
    return draw([two, samples.trained_run(root, "digits-1node-20261118-111640", 1, 171.0)])


def cut_off(figure: Figure) -> bool:
    """Whether anything that is drawn reaches beyond the figure's edge."""
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    slack = 0.02
    return box.x0 < -slack or box.y0 < -slack or box.x1 > width + slack or box.y1 > height + slack


def plot_share(figure: Figure) -> float:
    """How much of the figure's height is the plot itself."""
    return float(figure.axes[0].get_position().height)


def test_the_main_job_is_drawn_whole(pair: dict[str, Figure]) -> None:
    assert list(pair) == ["loss", "top1", "images-per-s", "throughput", "waterfall"]
    for name, figure in pair.items():
        assert not cut_off(figure), name
        assert plot_share(figure) > 0.35, name


def test_names_at_their_longest_and_many_runs_are_drawn_whole(runs_root: Path) -> None:
    runs = [
        samples.trained_run(
            runs_root, f"{letter * 70}-{nodes}-2026111{nodes}-110640", nodes, 90_000.0 * nodes
        )
        for nodes, letter in enumerate("abcdefg", start=1)
    ]
    for name, figure in draw([*runs, samples.resumed_run(runs_root, f"{'r' * 90}-20261119-110640")]).items():
        assert not cut_off(figure), name
        assert plot_share(figure) > 0.35, name


def test_what_the_titles_say(pair: dict[str, Figure]) -> None:
    titles = {name: figure.axes[0].get_title(loc="left") for name, figure in pair.items()}
    assert titles == {
        "loss": "Training loss",
        "top1": "Held-out top-1 accuracy (%)",
        "images-per-s": "Throughput over the run (images/s)",
        "throughput": "Throughput by number of nodes (images/s)",
        "waterfall": "Where the time went (seconds since submission)",
    }


def test_hours_are_shown_as_hours(runs_root: Path) -> None:
    slow = samples.trained_run(runs_root, "slow-20261118-110640", 1, 1.0)
    assert (
        draw([slow])["waterfall"].axes[0].get_title(loc="left")
        == "Where the time went (hours since submission)"
    )


def test_top1_is_drawn_over_epochs_in_percent(pair: dict[str, Figure]) -> None:
    axes = pair["top1"].axes[0]
    line = axes.get_lines()[0]
    assert list(line.get_xdata()) == pytest.approx(range(1, 15))
    assert line.get_ydata()[-1] == pytest.approx(97.85, abs=0.01)
    assert axes.get_xlabel() == "epoch"


def test_a_long_curve_keeps_its_extremes() -> None:
    xs = [float(step) for step in range(100_000)]
    ys = [1.0] * len(xs)
    ys[54_321], ys[77_777] = 9.0, -9.0
    kept_xs, kept_ys = plots._thinned(xs, ys)
    assert len(kept_xs) <= 1300
    assert (max(kept_ys), min(kept_ys)) == (9.0, -9.0)
    assert kept_xs == sorted(kept_xs)


@pytest.mark.parametrize(
    ("label", "shown"),
    [("digits-2node", "digits-2node"), ("a" * 20 + "b" * 30, "a" * 11 + "…" + "b" * 22)],
)
def test_a_long_label_keeps_its_ends(label: str, shown: str) -> None:
    assert style.shortened(label) == shown
    assert len(style.shortened(label)) <= 34


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["--plot-ink", "--plot-muted"])
def test_text_can_be_read_in_both_themes(theme: dict[str, str], ink: str) -> None:
    light, dark = sorted((luminance(theme[ink]), luminance(theme["--plot-paper"])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_both_themes_set_the_same_things() -> None:
    assert set(style.DARK) == set(style.LIGHT)
