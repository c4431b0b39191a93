"""The command line. `main` is the program `hpcai`."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with the contract's status."""
    from hpcai.cli.root import run

    run()
