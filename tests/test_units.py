from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai import units


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("10GiB", 10 << 30), ("10 GB", 10**10), ("1.5KiB", 1536), ("512B", 512), ("0B", 0), ("1TB", 10**12)],
)
def test_a_size_is_its_number_of_bytes(text: str, size_bytes: int) -> None:
    assert units.parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "10", "10G", "ten GiB", "-1GiB", "1.3B", "1e3B", "10gib", "１GiB"])
def test_what_is_no_size_is_refused_with_what_was_got(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole number") as raised:
        units.parse_bytes(text)
    assert repr(text) in str(raised.value)


@given(st.integers(min_value=0, max_value=2**70))
def test_sizes_survive_formatting(size_bytes: int) -> None:
    assert units.parse_bytes(units.format_bytes(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        *[("90", 5400), ("90:30", 5430), ("2:00:00", 7200), ("1-12", 129600), ("1-12:30", 131400)],
        *[
            ("1-02:03:04", 93784),
            ("20min", 1200),
            ("1h30min", 5400),
            ("45s", 45),
            ("2d", 172800),
            ("1d 1s", 86401),
        ],
    ],
)
def test_a_duration_is_read_as_slurm_reads_it_or_by_its_units(text: str, duration_s: int) -> None:
    assert units.parse_duration_s(text) == duration_s


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "20 m", "-5", "min", "1-", "30min1h", "1.5h"])
def test_what_is_no_duration_is_refused_with_what_was_got(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration") as raised:
        units.parse_duration_s(text)
    assert repr(text) in str(raised.value)


@given(st.integers(min_value=0, max_value=10**9))
def test_durations_survive_formatting(duration_s: int) -> None:
    assert units.parse_duration_s(units.format_duration(duration_s)) == duration_s


@pytest.mark.parametrize("wrong", [units.format_bytes, units.format_duration])
def test_negative_amounts_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="negative"):
        wrong(-1)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("n1", ["n1"]),
        ("n[1-3,7],m1", ["n1", "n2", "n3", "n7", "m1"]),
        ("n[01-03]", ["n01", "n02", "n03"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[098-101]x", ["n098x", "n099x", "n100x", "n101x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("he-gpu-1.example", ["he-gpu-1.example"]),
    ],
)
def test_a_host_list_is_expanded_in_its_order(text: str, hosts: list[str]) -> None:
    assert units.parse_hostlist(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "n[1-",
        "n[]",
        "n]1[",
        "n[3-1]",
        "n[a-b]",
        "a,,b",
        ",",
        "a b",
        "n[1-3",
        "n[[1]]",
        "n[1-100001]",
        "x'[1-2]",
    ],
)
def test_what_is_no_host_list_is_refused_with_what_was_got(text: str) -> None:
    with pytest.raises(ValueError, match="host") as raised:
        units.parse_hostlist(text)
    assert repr(text) in str(raised.value)


HOSTS = st.lists(
    st.one_of(
        st.from_regex(r"[a-z]{1,3}-?[0-9]{0,4}", fullmatch=True),
        st.from_regex(r"n[0-9]{1,3}", fullmatch=True),
        st.from_regex(r"[0-9]{1,25}", fullmatch=True),
    ),
    max_size=40,
)


@given(HOSTS)
def test_host_lists_survive_formatting(hosts: list[str]) -> None:
    assert units.parse_hostlist(units.format_hostlist(hosts)) == hosts


@given(st.integers(0, 200), st.integers(1, 60), st.integers(1, 4))
def test_consecutive_hosts_become_one_range(first: int, count: int, width: int) -> None:
    hosts = [f"n{number:0{width}}" for number in range(first, first + count)]
    text = units.format_hostlist(hosts)
    assert units.parse_hostlist(text) == hosts
    assert text.count(",") == 0


@pytest.mark.parametrize("name", ["", "a,b", "n[1]", "a b", "it's"])
def test_a_name_that_no_host_list_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        units.format_hostlist([name])


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (5_541_376, "5.54 MB"),
        (99_960_000, "100 MB"),
        (999_600_000, "1.00 GB"),
        (2.5e16, "25,000 TB"),
    ],
)
def test_sizes_for_people(size_bytes: float, text: str) -> None:
    assert units.about_bytes(size_bytes) == text
