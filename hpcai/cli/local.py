"""`hpcai local`: a real Slurm cluster on this machine."""

from __future__ import annotations

import shlex

import click

from hpcai.cli.output import say

name_option = click.option(
    "--name", default="default", show_default=True, envvar="HPCAI_LOCAL", help="Which embedded cluster."
)


@click.group()
def local() -> None:
    """A real Slurm cluster on this machine."""


@local.command()
@name_option
@click.option("--nodes", type=int, default=2, show_default=True, help="Number of nodes: n1, n2, ...")
@click.option("--cpus-per-node", type=int, help="CPUs that each node claims.  [default: this machine's]")
@click.option("--gpus-per-node", type=int, default=0, show_default=True, help="GPUs that each node claims.")
@click.option("--memory-mib-per-node", type=int, help="Memory that each node claims.  [default: this machine's]")
@click.option("--blob", is_flag=True, help="With an Azure Storage emulator.")
def up(
    name: str,
    nodes: int,
    cpus_per_node: int | None,
    gpus_per_node: int,
    memory_mib_per_node: int | None,
    blob: bool,
) -> None:
    """Start a cluster and wait until its nodes are idle."""
    from hpcai.slurm.local import cluster

    started = cluster.up(
        name,
        nodes=nodes,
        cpus_per_node=cpus_per_node,
        gpus_per_node=gpus_per_node,
        memory_mib_per_node=memory_mib_per_node,
        blob=blob,
    )
    say(f"Cluster {name!r} is up." if started else f"Cluster {name!r} was up already, in this very shape.")


@local.command()
@name_option
@click.option("--all", "everything", is_flag=True, help="All embedded clusters of this user.")
@click.option("--purge", is_flag=True, help="Also delete job history, Blob data and scratch.")
def down(name: str, everything: bool, purge: bool) -> None:
    """Stop a cluster; nothing of it is left running."""
    from hpcai.slurm.local import cluster

    for one in cluster.known() if everything else [name]:
        was_up = cluster.down(one, purge=purge)
        say(f"Cluster {one!r} is down." if was_up else f"Cluster {one!r} was down already.")


@local.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, command: tuple[str, ...]) -> None:
    """Run a program with the cluster's environment; its exit status is ours."""
    import os

    from hpcai import shell
    from hpcai.slurm.local import cluster

    raise SystemExit(shell.call(command, env={**os.environ, **cluster.environment(name)}))


@local.command()
@name_option
def env(name: str) -> None:
    """Print the cluster's environment as shell lines: eval "$(hpcai local env)"."""
    from hpcai.slurm.local import cluster

    for key, value in cluster.environment(name).items():
        click.echo(f"export {key}={shlex.quote(value)}")
