from __future__ import annotations

import pytest

from hpcai.cli.data_progress import progress_text, transfer_line


@pytest.mark.parametrize(
    ("numbers", "unit", "text"),
    [
        ((0, 0, 0, 1.0), "bytes", "100 %  0.0 of 0.0 MB"),
        ((0, 10_000_000, 0, 0.0), "bytes", "  0 %  0.0 of 10.0 MB"),
        ((5_000_000, 20_000_000, 5_000_000, 2.0), "bytes", " 25 %  5.0 of 20.0 MB  2.5 MB/s  6 s left"),
        ((15_000_000, 20_000_000, 5_000_000, 2.0), "bytes", " 75 %  15.0 of 20.0 MB  2.5 MB/s  2 s left"),
        ((7, 7, 7, 2.0), "samples", "100 %  7 of 7 samples  4 samples/s"),
    ],
)
def test_the_line(numbers: tuple[int, int, int, float], unit: str, text: str) -> None:
    assert progress_text(*numbers, unit) == text


def test_nothing_is_drawn_into_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer_line("bytes") as line:
        line.told(1, 2)
        line.say("words")
    assert capsys.readouterr().err == "words\n"
