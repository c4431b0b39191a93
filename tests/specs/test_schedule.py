from __future__ import annotations

from datetime import datetime

import pytest

from hpcai.specs.schedule import next_times, parse_schedule

# A Saturday.
NOW = datetime(2026, 11, 21, 16, 0, 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@hourly", ["2026-11-21 17:00", "2026-11-21 18:00"]),
        ("@daily", ["2026-11-22 00:00", "2026-11-23 00:00"]),
        ("@weekly", ["2026-11-22 00:00", "2026-11-29 00:00"]),
        ("@monthly", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("@YEARLY", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("* * * * *", ["2026-11-21 16:01", "2026-11-21 16:02"]),
        ("0 16 * * *", ["2026-11-22 16:00", "2026-11-23 16:00"]),
        ("30 3 * * 1-5", ["2026-11-23 03:30", "2026-11-24 03:30"]),
        ("*/20 16,18 * * *", ["2026-11-21 16:20", "2026-11-21 16:40"]),
        ("50,55 23 * * *", ["2026-11-21 23:50", "2026-11-21 23:55"]),
        ("0 0 1 */5 *", ["2027-01-01 00:00", "2027-06-01 00:00"]),
        ("0 0 13 * 5", ["2026-11-27 00:00", "2026-12-04 00:00"]),
        ("0 0 1 Dec 7", ["2026-12-01 00:00", "2026-12-06 00:00"]),
        ("0 0 */15 * 1", ["2026-11-23 00:00", "2026-11-30 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ],
)
def test_the_next_times_are_those_of_scrontab(text: str, expected: list[str]) -> None:
    assert [f"{time:%Y-%m-%d %H:%M}" for time in next_times(text, NOW, 2)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "five fields"),
        ("0 3 * *", "five fields"),
        ("@reboot", "'@reboot' is none of @yearly"),
        ("60 * * * *", "'60' is no minute; numbers from 0 to 59"),
        ("* 24 * * *", "'24' is no hour; numbers from 0 to 23"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * foo *", "'foo' is no month; .*jan to dec alone"),
        ("* * * * 8", "'8' is no day of the week"),
        ("5-3 * * * *", "'5-3' is no minute"),
        ("*/0 * * * *", r"'\*/0' is no minute"),
        ("*/70 * * * *", r"'\*/70' is no minute"),
        ("*/1 * * * *", r"'\*/1' is no minute"),
        ("5-50/15 * * * *", "'5-50/15' is no minute"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("0 0 * * mon-fri", "'mon-fri' is no day of the week"),
        ("1,,2 * * * *", "'' is no minute"),
        ("0 0 31 feb *", "that day never comes"),
    ],
)
def test_what_is_no_schedule_says_which_part(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)
