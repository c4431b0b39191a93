"""What libraries print of their transport, and what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpcai.launch.transport import deciding, read_logs, read_transports

CASES = Path(__file__).parent.parent / "cases/transport"
LINE = "n1:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/Socket/0"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_the_transport_is_what_the_lines_say(case: Path, tmp_path: Path) -> None:
    told = yaml.safe_load(case.read_text())
    assert told["source"]
    log = tmp_path / "0.out"
    log.write_text(told["lines"])
    found = read_logs([log])
    keys = ("library", "network", "between", "within", "version")
    assert [
        {key: list(value) if isinstance(value := getattr(one, key), tuple) else value for key in keys}
        for one in found
    ] == told["found"]
    for one in found:
        assert (one.evidence in told["lines"].splitlines()) if one.network else (one.evidence is None)


def test_one_connection_on_sockets_counts_more_than_many_on_infiniband() -> None:
    good = LINE.replace("Socket/0", "IB/0/GDRDMA")
    (found,) = read_transports([good, good, LINE])
    assert (found.network, found.evidence) == ("sockets", LINE)
    assert found.between == ("NET/IB/GDRDMA", "NET/Socket")


def test_the_tensors_go_by_nccl_where_it_speaks() -> None:
    gloo = "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1"
    within = "n1:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM"
    decisive = deciding(read_transports([gloo, LINE.replace("Socket/0", "IB/0")]))
    assert decisive is not None and decisive.library == "nccl"
    only = deciding(read_transports([gloo, within]))
    assert only is not None and only.library == "gloo"
    assert deciding(read_transports([within])) is None


def test_a_log_that_is_gone_huge_or_no_text_costs_little(tmp_path: Path) -> None:
    log = tmp_path / "0.out"
    log.write_bytes(b"\xff\x00NCCL\n" + b"x" * 3_000_000 + b"\n" + LINE.encode() + b"\n")
    assert read_logs([tmp_path / "none.out", tmp_path, log]) == []
    log.write_bytes(b"\xff\x00NCCL\r\n" + LINE.encode() + b"\r\n")
    assert [one.network for one in read_logs([log])] == ["sockets"]


@given(st.lists(st.text(max_size=40).map(lambda text: f"NCCL INFO {text} UCX INFO bml: [Gloo]"), max_size=5))
def test_no_line_is_too_strange(lines: list[str]) -> None:
    read_transports(lines)
