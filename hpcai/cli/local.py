"""`hpcai local`: a real Slurm cluster on this machine."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.complete import complete_cluster
from hpcai.cli.groups import CommandGroup
from hpcai.cli.output import emit_rows, output_option, put, quiet_option, say
from hpcai.slurm.local.places import DEFAULT

if TYPE_CHECKING:
    from hpcai.slurm.local.cluster import Status

name_option = click.option(
    "--name",
    default="default",
    show_default=True,
    envvar="HPCAI_LOCAL",
    show_envvar=True,
    shell_complete=complete_cluster,
    help="Which embedded cluster.",
)

SHOWN = ("name", "state", "nodes", "uptime_s", "blob_endpoint", "slurm_version")
NODE_SHOWN = ("name", "state", "pid", "restarts", "reason")
COLUMNS = (
    *("name", "state", "uptime_s", "shape", "slurm_version", "pids", "nodes", "blob_endpoint"),
    "folder",
)


@click.group(cls=CommandGroup)
def local() -> None:
    """A real Slurm cluster on this machine.

    munged, slurmctld and one slurmd per node, without root, from packages of Debian or Ubuntu, in the
    cache folder. An unknown cluster or node is exit status 5, a cluster that is down or of another shape 4.
    """


@local.command()
@name_option
@click.option("--nodes", type=int, default=2, show_default=True, help="How many nodes: n1, n2, ...")
@click.option("--cpus-per-node", type=int, help="CPUs that each node claims.  [default: this machine's]")
@click.option("--gpus-per-node", type=int, default=0, show_default=True, help="GPUs that each node claims.")
@click.option(
    "--memory-mib-per-node", type=int, help="Memory that each node claims.  [default: this machine's]"
)
@click.option("--blob", is_flag=True, help="With an Azure Storage emulator.")
@click.option("--accounting", is_flag=True, help="With slurmdbd and MariaDB: Slurm remembers every job.")
@click.option("--containers", is_flag=True, help="With a stand-in for Pyxis: tasks may run in images.")
@click.option(
    "--pyxis-version",
    metavar="VERSION",
    help="Which Pyxis --containers plays: 0.20 to 0.24.  [default: 0.21, as CycleCloud's]",
)
@click.option(
    "--slurm",
    type=click.Choice(("22.05", "24.11", "testing")),
    help="Slurm's version, from a suite of Debian.  [default: this machine's distribution's]",
)
def up(
    name: str,
    nodes: int,
    cpus_per_node: int | None,
    gpus_per_node: int,
    memory_mib_per_node: int | None,
    blob: bool,
    accounting: bool,
    containers: bool,
    pyxis_version: str | None,
    slurm: str | None,
) -> None:
    """Start a cluster and wait until its nodes are idle.

    Job numbers, Blob data and scratch of an earlier life under the same name are still there. One that
    is up already is left alone: exit status 0 when it has this very shape, else 4. A machine that allows
    no user namespaces, or has no C compiler, takes no --containers: exit status 4.

    --accounting: sacct and sacctmgr work, your account is `local`, limits of accounts and QOS hold, and jobs
    are remembered until `down --purge`. It takes 4 to 9 s the first time, 2 to 3 s again. slurmdbd and
    MariaDB come from the same packages; where these are not to be had, the exit status is 4, or 6.

    --slurm takes the packages from the mirror of Debian that this machine's apt uses, and from nowhere but
    where Debian's keys vouch for them; elsewhere HPCAI_DEBIAN_MIRROR_URL names a mirror. What testing has
    moves on: `hpcai local status` tells the version. A name whose earlier life had another version is 4,
    as is a machine that has no such packages; a mirror that does not answer is 6.
    """
    from hpcai.errors import UsageError
    from hpcai.slurm.local import cluster, pyxis

    if pyxis_version is not None and not containers:
        raise UsageError("--pyxis-version is given without --containers.", next_step="Add --containers.")
    started = cluster.up(
        name,
        nodes=nodes,
        cpus_per_node=cpus_per_node,
        gpus_per_node=gpus_per_node,
        memory_mib_per_node=memory_mib_per_node,
        blob=blob,
        pyxis_version=(pyxis_version or pyxis.DEFAULT_VERSION) if containers else None,
        accounting=accounting,
        slurm=slurm,
        tell=say,
    )
    say(f"Cluster {name!r} is up." if started else f"Cluster {name!r} was up already, in this very shape.")
    flag = "" if name == DEFAULT else f" --name {name}"
    say(f"hpcai local exec{flag} -- srun -N{nodes} hostname")


@local.command()
@name_option
@click.option("--all", "everything", is_flag=True, help="All embedded clusters of this user.")
@click.option("--purge", is_flag=True, help="Also delete job numbers, accounts, Blob data and scratch.")
@click.pass_context
def down(ctx: click.Context, name: str, everything: bool, purge: bool) -> None:
    """Stop a cluster; nothing of it is left running."""
    # HPCAI_LOCAL gives a name too: that one nobody has typed.
    if everything and ctx.get_parameter_source("name") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--all and --name both say which cluster. Give one of them.")
    from hpcai.errors import NotFoundError
    from hpcai.slurm.local import cluster

    names = cluster.known() + cluster.leftovers() if everything else [name]
    for one in names:
        try:
            was_up = cluster.down(one, purge=purge)
        except NotFoundError as error:
            # Nobody who wants a cluster to be down wants it up.
            raise NotFoundError(error.what, allowed=error.allowed, next_step="hpcai local status") from error
        say(f"Cluster {one!r} is down." if was_up else f"Cluster {one!r} was down already.")
    if not names:
        say("There is no embedded cluster.")


@local.command()
@click.option(
    "--name", shell_complete=complete_cluster, help="Only this cluster; the table is then its nodes."
)
@output_option
@quiet_option("the clusters' names")
def status(name: str | None, output: str, quiet: bool) -> None:
    """Show clusters, their nodes, processes and storage."""
    from hpcai.slurm.local import cluster

    names = cluster.known() if name is None else [name]
    found = [cluster.status(one) for one in names]
    if not found:
        say("There is no embedded cluster yet: hpcai local up")
    if quiet:
        for one in found:
            put(one.name)
    elif output != "table":
        emit_rows([_in_full(one) for one in found], COLUMNS, output, kind="clusters")
    elif name is None:
        rows = [{**_in_full(one), "nodes": _in_short(one)} for one in found]
        emit_rows(rows, COLUMNS, output, kind="clusters", shown=SHOWN)
    else:
        emit_rows(_in_full(found[0])["nodes"], NODE_SHOWN, output, kind="nodes")


def _in_full(one: Status) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one), "folder": str(one.folder)}


def _in_short(one: Status) -> str:
    return ", ".join(f"{node.name} {node.state}" for node in one.nodes)


@local.command()
@name_option
def env(name: str) -> None:
    """Print the environment of a cluster for a shell: eval "$(hpcai local env)"."""
    from hpcai.slurm.local import cluster

    for key, value in cluster.environment(name).items():
        put(f"export {key}={shlex.quote(value)}")


@local.command("exec", context_settings={"allow_interspersed_args": False})
@name_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, command: tuple[str, ...]) -> None:
    """Run a program with a cluster's environment; its exit status is ours."""
    from hpcai import shell
    from hpcai.slurm.local import cluster

    environ = {**os.environ, **cluster.environment(name)}
    try:
        shell.become(command, env=environ)
    except shell.ProgramMissing as error:
        flag = "" if name == DEFAULT else f" --name {name}"
        raise shell.ProgramMissing(
            error.what, next_step=f"hpcai local env{flag}  # prints the PATH that was searched"
        ) from error


@local.group(cls=CommandGroup)
def fault() -> None:
    """Let a node fail, and come back."""


@fault.command("kill-node")
@name_option
@click.argument("node")
def kill_node(name: str, node: str) -> None:
    """End a node as a power loss does; it stays dead until it is resumed."""
    from hpcai.slurm.local import fault

    fault.kill_node(name, node)
    say(f"Node {node!r} is dead. Bring it back: hpcai local fault resume --name {name} {node}")


@fault.command()
@name_option
@click.argument("node")
@click.option(
    "--reason", default="hpcai local fault drain", show_default=True, help="What Slurm shows as the reason."
)
def drain(name: str, node: str, reason: str) -> None:
    """Let a node finish what it runs and give it nothing new."""
    from hpcai.slurm.local import fault

    fault.drain(name, node, reason=reason)
    say(f"Node {node!r} takes no new jobs. Bring it back: hpcai local fault resume --name {name} {node}")


@fault.command()
@name_option
@click.argument("node")
def resume(name: str, node: str) -> None:
    """Bring a killed or drained node back."""
    from hpcai.slurm.local import fault

    back = fault.resume(name, node)
    say(f"Node {node!r} is back." if back else f"Node {node!r} was neither killed nor drained.")
