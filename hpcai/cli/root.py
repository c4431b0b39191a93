"""The group of all commands; each command's module is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import TextIO

import click

from hpcai import __version__
from hpcai.cli.groups import CommandGroup
from hpcai.cli.output import drop, output_error, say
from hpcai.errors import HpcaiError

# Word -> (module below hpcai.cli, the line in `hpcai --help`). Each module holds a click command
# named like the word; a test keeps the line equal to that command's own short help.
COMMANDS = {
    "cancel": ("cancel", "End a job, or the schedule of a file."),
    "check": ("check", "Tell what is wrong with this site or a file, before the queue does."),
    "cluster": ("cluster", "CycleCloud clusters as code."),
    "config": ("config", "Show the settings that hold here, and who said each."),
    "data": ("data", "Pack, push, pull and list data sets."),
    "diff": ("diff", "Tell what differs between two VM sizes."),
    "init": ("init", "Write a job's file to begin with."),
    "local": ("local", "A real Slurm cluster on this machine."),
    "logs": ("logs", "Print what a job printed."),
    "queue": ("queue", "List your jobs."),
    "report": ("report", "Make the report of one or more runs."),
    "rerun": ("rerun", "Run a job once more, from its record."),
    "shell": ("shell", "Open a shell in a job that runs."),
    "show": ("show", "Show one job in full."),
    "submit": (
        "submit",
        "Submit jobs from a YAML file, or a script with #SBATCH lines as it is.",
    ),
    "vm": ("vm", "What is known of Azure's VM sizes, and what they cost."),
    "why": ("why", "Tell why a job waits, or how it ended."),
}


class LazyGroup(CommandGroup):
    """A click group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hpcai.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def lines(self, ctx: click.Context) -> dict[str, str]:
        return {word: line for word, (_, line) in COMMANDS.items()}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hpcai")
def hpcai() -> None:
    """The experience of a managed AI training service on a Slurm cluster that you own.

    A file that carries `kind:` says what; hpcai checks it, renders it to plain text, submits it,
    follows it, records it and reports it.
    """


def run() -> None:
    """Run the command line; errors become one to three lines and the contract's exit status."""
    try:
        status = hpcai.main(prog_name="hpcai", standalone_mode=False)
    except click.exceptions.Abort:
        status = 130
    except click.ClickException as error:
        _show(error)
        status = error.exit_code
    except HpcaiError as error:
        say(f"hpcai: {error}")
        status = error.exit_status
    except BrokenPipeError:
        # The reader of our output has gone (`hpcai ... | head`): not our failure, and nothing to say.
        status = 0
    except Exception as error:  # noqa: BLE001 -- the last door
        status = _unforeseen(error)
    if not _is_flushed(sys.stdout):
        # Else Python tries again at its end, and fails with a status of its own.
        drop(sys.stdout)
    sys.exit(status if isinstance(status, int) else 0)


def _show(error: click.ClickException) -> None:
    try:
        error.show()
    except OSError:
        drop(sys.stderr)


def _unforeseen(error: Exception) -> int:
    """The exit status after an error that nobody foresaw, which is told."""
    if isinstance(error, OSError) and _is_of_click(error):
        # What click itself prints to stdout, such as help.
        lost = output_error(error)
        say(f"hpcai: {lost}")
        return lost.exit_status
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())
    say("hpcai: this is a defect in hpcai. Please report it with the lines above.")
    return 1


def _is_of_click(error: Exception) -> bool:
    """Whether click's own printing raised it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__") == click.echo.__module__


def _is_flushed(stream: TextIO | None) -> bool:
    """Whether everything that was printed has gone out."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        return False
    return True
