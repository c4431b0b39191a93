"""Ports: free, low enough, and never one that another cluster has."""

from __future__ import annotations

import socket

import pytest

from hpcai.errors import ToolError
from hpcai.slurm.local import ports


def test_they_lie_below_those_of_outgoing_connections() -> None:
    found = ports.free_ports(20, taken=())
    assert len(set(found)) == 20
    assert max(found) < 32768


def test_one_in_use_and_one_taken_are_left_out() -> None:
    first, second, third = ports.free_ports(3, taken=())
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        assert ports.is_listening(first)
        assert ports.free_ports(1, taken={second}) == [third]
    assert not ports.is_listening(first)


def test_when_there_are_not_enough_it_says_how_many_there_are() -> None:
    everything_but_two = set(range(ports.LOWEST, ports.HIGHEST)) - set(ports.free_ports(2, taken=()))
    with pytest.raises(
        ToolError, match=r"needs 3 TCP ports, and 2 are free between 20000 and \d+\.\n.*local status"
    ):
        ports.free_ports(3, taken=everything_but_two)
