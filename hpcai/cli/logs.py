"""`hpcai logs`: what the ranks of a job printed, as it is or as it comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.numbers import pattern
from hpcai.cli.numbers import ranks as parse_ranks
from hpcai.cli.output import say
from hpcai.cli.target import find_target

if TYPE_CHECKING:
    import re

    from hpcai.cli.context import Context
    from hpcai.cli.logs_ranks import Wanted
    from hpcai.errors import ToolError
    from hpcai.runs.record import Run


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, over all attempts that come.")
@click.option(
    "--rank",
    "ranks",
    callback=parse_ranks,
    metavar="N|0-3,7|all",
    help="Which ranks; of several each line tells its rank.  [default: 0, with --grep all]",
)
@click.option(
    "--attempt", type=click.IntRange(min=0), help="Which attempt, with -f the first.  [default: the last]"
)
@click.option(
    "--grep",
    metavar="PATTERN",
    callback=pattern,
    help="Only lines that match this regular expression; (?i) ignores case.",
)
@click.option(
    "--tail", type=click.IntRange(min=0), help="Only so many of the last lines, of those that match --grep."
)
@click.option("--batch", is_flag=True, help="What Slurm and the batch part printed, not a rank.")
@click.pass_context
def logs(
    ctx: click.Context,
    ident: str,
    follow: bool,
    ranks: tuple[int, ...] | None,
    attempt: int | None,
    grep: re.Pattern[str] | None,
    tail: int | None,
    batch: bool,
) -> None:
    """Print what a job printed.

    ID is a Slurm job id, a run's name, experiment/run, or @last; of an array with the number of
    one task behind it (12_3, @last_3). Of a script of your own, or a job that hpcai did not submit,
    the files that Slurm names. What a rank wrote to its stdout goes to stdout, what it wrote
    to its stderr to stderr. --batch is of all attempts.

    Several ranks are printed as by `srun --label`, those of --grep too. The bytes go to a file or a
    pipe as they are; on a terminal control characters are shown as ^G or \\xff, colors stay, and a
    progress bar is drawn over. Of large logs --tail reads the ends alone.

    \b
    Exit status: 0, also when nothing matches; 2 the name fits two runs, --grep is no regular
    expression, or --batch with --rank or --attempt, 4 no such rank or attempt, no output yet, output
    that you may not read, or an array without the number of a task, 5 no such job, 6 Slurm does
    not answer. With -f, as with `hpcai show --wait`: 0 the job completed, else its own status
    (128 + signal, or 9, when it has none), 4 also where there is no Slurm, 130 no longer following
    after Ctrl-C.
    """
    from hpcai.cli.context import find_context
    from hpcai.cli.logs_ranks import Wanted
    from hpcai.cli.pipes import Chosen

    for given, option in ((ranks, "--rank"), (attempt, "--attempt")):
        if batch and given is not None:
            raise click.UsageError(f"--batch and {option} both say what to print. Give one of them.")
    wanted = Wanted(ranks, attempt, batch, Chosen(grep, tail))
    context = find_context()
    target = find_target(context, ident, ask_slurm=False)
    if target.run is not None and (tasks := target.run.task_ids()):
        raise _which_task(target.run, tasks)
    if target.run is None:
        from hpcai.cli.logs_slurm import print_job

        print_job(ctx, context, target, follow, wanted)
    elif target.run.is_bare:
        from hpcai.cli.logs_slurm import print_bare

        print_bare(ctx, context, target.run, follow, wanted)
    elif follow:
        from hpcai.cli.logs_follow import follow_ranks

        follow_ranks(ctx, context, target.run, wanted)
    elif batch:
        _print_batch(context, target.run, wanted)
    else:
        _print_logs(context, target.run, wanted)


def _which_task(run: Run, tasks: tuple[int, ...]) -> ToolError:
    from hpcai.errors import ToolError
    from hpcai.units import format_array

    name = run.of_task(tasks[0]).name
    return ToolError(
        f"{run.name} is an array, and each of its tasks has logs of its own.",
        allowed=f"Its tasks are {format_array(tasks)}.",
        next_step=f"hpcai logs {name}",
    )


def _print_logs(context: Context, run: Run, wanted: Wanted) -> None:
    from hpcai.cli.logs_ranks import RankPipes, ranks_of, require_ranks, say_nothing_matches

    numbers = attempts_of(run)
    if not numbers:
        follow = f"`hpcai logs -f {run.name}` prints it as it comes, --batch what Slurm said."
        raise _nothing(context, run, f"{run.name} has printed nothing", follow)
    number = numbers[-1] if wanted.attempt is None else require_attempt(run, numbers, wanted.attempt)
    there = ranks_of(run, [number])
    if not there:
        batch = f"`hpcai logs --batch {run.name}` prints what Slurm and the batch part said."
        raise _nothing(context, run, f"No rank of {run.name} has printed anything in attempt {number}", batch)
    require_ranks(context, run, there, wanted)
    found = RankPipes(run, number, wanted)
    found.finish()
    if all(pipe.is_empty for pipe in found.pipes):
        say_silent(run, wanted)
    elif wanted.lines.grep is not None and not any(pipe.has_printed for pipe in found.pipes):
        say_nothing_matches(run.name, wanted.lines)
    if wanted.ranks is None and not wanted.are_all and len(there) > 1:
        say(f"This was rank 0 of {len(there)}; --rank N prints another, --rank all every one.")


def _print_batch(context: Context, run: Run, wanted: Wanted) -> None:
    from hpcai.cli.logs_ranks import say_nothing_matches
    from hpcai.cli.pipes import Pipe, finish_all

    if not run.paths.batch_log.exists():
        follow = f"`hpcai logs --batch -f {run.name}` prints it as it comes."
        raise _nothing(context, run, f"The batch part of {run.name} has printed nothing", follow)
    pipe = Pipe(run.paths.batch_log, sys.stdout, wanted.lines)
    finish_all([pipe])
    if wanted.lines.grep is not None and not pipe.has_printed:
        say_nothing_matches(f"the batch part of {run.name}", wanted.lines)


def attempts_of(run: Run) -> list[int]:
    """The numbers of the attempts that have begun."""
    return [one.number for one in run.attempts() if one.start is not None]


def require_attempt(run: Run, numbers: list[int], attempt: int) -> int:
    """The same number. Raises ToolError for an attempt that has not begun."""
    from hpcai.errors import ToolError

    if attempt in numbers:
        return attempt
    made = f"its attempts are 0 to {numbers[-1]}" if numbers[-1] else "its only attempt is 0"
    raise ToolError(f"{run.name} has no attempt {attempt}: {made}.", next_step=f"hpcai show {run.name}")


def _nothing(context: Context, run: Run, what: str, next_step: str) -> ToolError:
    from hpcai.errors import ToolError

    return ToolError(f"{what}: {state_of(context, run)}.", next_step=next_step)


def say_silent(run: Run, wanted: Wanted) -> None:
    """That the ranks printed nothing, and where something may stand."""
    who = f"Rank {wanted.named[0]}" if len(wanted.named) == 1 else "No rank"
    what = "nothing" if len(wanted.named) == 1 else "anything"
    say(f"{who} printed {what}. What Slurm and the batch part said:")
    say(f"hpcai logs --batch {run.name}")


def state_of(context: Context, run: Run) -> str:
    """How it stands with a run, after its name and a colon."""
    from hpcai.cli.words import ended
    from hpcai.errors import UnreachableError
    from hpcai.slurm.reasons import in_words

    try:
        target = find_target(context, run.ident)
    except UnreachableError:
        return "Slurm does not answer"
    if target.outcome is not None:
        return f"it {ended(target.outcome)}"
    return f"it {in_words(target.job)}" if target.job else "it has not started"
