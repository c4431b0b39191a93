"""`hpcai shell`: into a job that runs."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.output import put, say
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from hpcai.errors import ToolError
    from hpcai.launch.inside import Shell
    from hpcai.slurm.answers import JobInfo
    from hpcai.specs.site import Site

_PORTS = {"jupyter": 8888, "tensorboard": 6006}


class _Port(click.ParamType[int]):
    name = "port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = _PORTS.get(value) or (int(value) if value.isdecimal() else 0)
        if not 1 <= number <= 65535:
            self.fail(f"{value!r} is no port: jupyter, tensorboard, or a number from 1 to 65535.", param, ctx)
        return number


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("--node", metavar="NAME", help="On which of its nodes.  [default: the first]")
@click.option(
    "--port",
    type=_Port(),
    metavar="jupyter|tensorboard|N",
    help="Print the ssh command that brings this port of the node to your own machine, and do nothing else.",
)
def shell(ident: str, node: str | None, port: int | None) -> None:
    """Open a shell in a job that runs.

    ID is a Slurm job id, a run's name, experiment/run, or @last; of an array with the number of one task
    behind it (12_3, @last_3). The shell has the environment of the run, the nodes' GPUs, and its
    container where it has one; it begins in the run's folder of work. A job that hpcai did not submit, and a
    script of your own, get your own shell.

    --port is for the login node's name as you know it: `login_host` of a config file, else this machine's.

    \b
    Exit status: the shell's own. 0 with --port, 2 the name fits two runs, or no terminal, 4 the job does
    not run, has no such node, or is an array, 5 no such job, 6 Slurm does not answer.
    """
    from hpcai.cli.context import find_context
    from hpcai.launch import inside

    context = find_context()
    target = find_target(context, ident)
    job = _running(target)
    place = _node(job, node)
    if port is not None:
        _tell_tunnel(context.site, place, port)
        return
    require_terminal(f"srun --jobid={job.job_id} --overlap COMMAND")
    own = inside.user_shell()
    become(inside.in_job(job, place, target.run, site=context.site, client=context.client, shell=own))


def become(opened: Shell) -> NoReturn:
    """Never returns: the shell has this process's terminal, and its status is this command's."""
    from hpcai import shell as programs

    sys.stdout.flush()
    programs.become(opened.argv, env=opened.environ)


def require_terminal(instead: str) -> None:
    """Raises UsageError where nobody could type into the shell."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"A shell needs a terminal. `{instead}` needs none.")


def _running(target: Target) -> JobInfo:
    from hpcai.cli.words import ended
    from hpcai.errors import ToolError
    from hpcai.slurm.reasons import in_words
    from hpcai.units import format_array

    run, job = target.run, target.job
    if run is not None and run.is_local:
        raise _no_shell(target, "it runs as processes of the machine that started it")
    tasks = run.task_ids() if run is not None else ()
    if run is not None and tasks:
        name = run.of_task(tasks[0]).name
        raise ToolError(
            f"{run.name} is an array, and each of its tasks is a job of its own.",
            allowed=f"Its tasks are {format_array(tasks)}.",
            next_step=f"hpcai shell {name}",
        )
    if target.outcome is not None:
        raise _no_shell(target, f"it {ended(target.outcome)}")
    if job is None:
        raise _no_shell(target, "Slurm knows no job of it")
    if job.state != "RUNNING":
        raise _no_shell(target, f"it {in_words(job)}")
    return job


def _no_shell(target: Target, why: str) -> ToolError:
    from hpcai.errors import ToolError

    return ToolError(
        f"No shell can be opened in {target.name}: {why}.", next_step=f"hpcai show {target.ident}"
    )


def _node(job: JobInfo, asked: str | None) -> str:
    from hpcai.errors import ToolError
    from hpcai.units import parse_hostlist

    nodes = parse_hostlist(job.node_list or "")
    if asked is None and nodes:
        return nodes[0]
    if asked is None or asked not in nodes:
        raise ToolError(
            f"Job {job.ident} has no node {asked!r}.", allowed=f"Its nodes are {', '.join(nodes)}."
        )
    return asked


def _tell_tunnel(site: Site, node: str, port: int) -> None:
    host = site.login_host or os.uname().nodename
    to = f"{getpass.getuser()}@{host}"
    put(shlex.join(["ssh", "-N", "-L", f"{port}:{node}:{port}", to]))
    say(f"Type it on your own machine; then http://localhost:{port} is port {port} of {node}.")
