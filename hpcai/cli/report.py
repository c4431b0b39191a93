"""`hpcai report`: tables, plots and one page over one or more runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.output import emit_object, output_option, put, quiet_option, say
from hpcai.errors import StageError, ToolError
from hpcai.units import format_array

if TYPE_CHECKING:
    from hpcai.report.build import Report
    from hpcai.runs.record import Run


@click.command("report", short_help="Make the report of one or more runs.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_ident)
@click.option(
    "-d",
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report.  [default: <runs root>/<experiment>/reports/<runs>]",
)
@output_option
@quiet_option("the path of the page (.html)")
def report(ids: tuple[str, ...], directory: Path | None, output: str, quiet: bool) -> None:
    """Make the report of one or more runs: one page that needs nothing beside it, and Markdown.

    ID is a Slurm job id, a run's name, experiment/name, a beginning of either that fits one run only,
    or @last. The report is made from the records alone, also while a run goes on, and replaces an older
    report of the same runs. The paths of the page and of the Markdown go to stdout. A file of a record
    that cannot be read is told at the top of the page and on stderr; the rest is reported.

    Of an array, name the tasks to report, such as 12_3 or @last_3.

    \b
    Exit status: 0, 2 no ID, or one that fits two runs, 4 an array without the number of
    a task, 5 no such run, 7 a record cannot be read or the folder cannot be written.
    """
    from hpcai.report.build import build_report, default_folder
    from hpcai.runs.find import find_run
    from hpcai.specs.site import load_site

    runs_root = load_site().runs_root
    runs = list(dict.fromkeys(find_run(runs_root, ident) for ident in ids))
    for run in runs:
        _refuse_array(run)
    made = build_report(runs, directory.absolute() if directory else default_folder(runs))
    paths = {"html": str(made.html_path), "markdown": str(made.markdown_path)}
    if quiet:
        put(made.html_path)
    elif output == "table":
        for path in paths.values():
            put(path)
        say("The .html is one file that you can open and send; the .md has its figures beside it.")
    else:
        figures = [str(path) for path in made.figure_paths]
        emit_object({**paths, "figures": figures, "runs": [run.ident for run in runs]}, output)
    _require_whole(made)


def _refuse_array(run: Run) -> None:
    tasks = run.task_ids()
    if tasks:
        names = [run.of_task(task).name for task in tasks[:3]]
        raise ToolError(
            f"{run.name} is an array, and a report is of its tasks, one or several, not of all that it is.",
            allowed=f"Its tasks are {format_array(tasks)}; `hpcai show {run.name}` counts them.",
            next_step=" ".join(["hpcai report", *names]),
        )


def _require_whole(made: Report) -> None:
    """Raises StageError when something of the records could not be read."""
    if not made.problems:
        return
    *others, last = made.problems
    for problem in others:
        say(problem)
    raise StageError(last, allowed="The report is made without it; the top of its page says so.")
