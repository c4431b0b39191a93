from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hpcai.errors import UnreachableError
from hpcai.slurm.shared import SharedAnswer


class Slurm:
    """Answers a question with its number."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.asked = 0
        self._takes_s = takes_s

    def __call__(self) -> str:
        self.asked += 1
        time.sleep(self._takes_s)
        return f"answer {self.asked}\n"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "SLURM_CONF": "/a/slurm.conf"}


def test_who_asks_soon_reads_what_the_last_was_told(environ: dict[str, str]) -> None:
    slurm, begin = Slurm(), time.time()
    first = SharedAnswer(environ, "squeue --me").told(slurm, since=begin)
    again = SharedAnswer(environ, "squeue --me").told(slurm, since=begin)
    assert (first, first.text, slurm.asked) == (again, "answer 1\n", 1)
    assert begin <= first.asked <= time.time()
    assert SharedAnswer(environ, "squeue --me").told(slurm, since=time.time()).text == "answer 2\n"
    [file] = (file for file in (Path(environ["XDG_CACHE_HOME"])).rglob("*") if file.is_file())
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("other", [{"SLURM_CONF": "/b/slurm.conf"}, {"SLURM_CLUSTERS": "b"}])
def test_another_slurm_and_another_question_are_asked(environ: dict[str, str], other: dict[str, str]) -> None:
    slurm = Slurm()
    SharedAnswer(environ, "squeue --me").told(slurm, since=0.0)
    SharedAnswer({**environ, **other}, "squeue --me").told(slurm, since=0.0)
    SharedAnswer(environ, "squeue").told(slurm, since=0.0)
    assert slurm.asked == 3


def test_after_a_change_no_answer_to_an_earlier_question_counts(environ: dict[str, str]) -> None:
    slurm = Slurm()
    answer = SharedAnswer(environ, "squeue --me")
    answer.told(slurm, since=0.0)
    answer.forget()
    assert answer.told(slurm, since=0.0).text == "answer 2\n"
    # A question that was put before the change, and answered behind it.
    slow = SharedAnswer(environ, "squeue --me")
    slow.told(lambda: slow.forget() or "without the job\n", since=time.time())  # type: ignore[func-returns-value]
    assert answer.told(slurm, since=0.0).text == "answer 3\n"


def test_a_hundred_who_ask_at_once_cost_one_question(environ: dict[str, str]) -> None:
    slurm, begin = Slurm(takes_s=0.2), time.time()
    found: list[str] = []
    askers = [
        threading.Thread(
            target=lambda: found.append(SharedAnswer(environ, "squeue").told(slurm, since=begin).text)
        )
        for _ in range(100)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == ["answer 1\n"] * 100


def test_what_slurm_refuses_is_not_kept(environ: dict[str, str]) -> None:
    answer = SharedAnswer(environ, "squeue")

    def away() -> str:
        raise UnreachableError("slurmctld does not answer.")

    with pytest.raises(UnreachableError):
        answer.told(away, since=0.0)
    assert answer.told(Slurm(), since=0.0).text == "answer 1\n"


@pytest.mark.parametrize("damage", ["", "no number\nx", "1e30\nof the future", "\xff"])
def test_a_file_that_says_nothing_is_asked_anew(environ: dict[str, str], damage: str) -> None:
    slurm = Slurm()
    answer = SharedAnswer(environ, "squeue")
    answer.told(slurm, since=0.0)
    [file] = (file for file in (Path(environ["XDG_CACHE_HOME"])).rglob("*") if file.is_file())
    file.write_bytes(damage.encode("latin-1"))
    assert answer.told(slurm, since=0.0).text == "answer 2\n"


def test_where_nothing_can_be_written_everyone_asks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer, slurm = SharedAnswer({"XDG_CACHE_HOME": str(tmp_path / "file")}, "squeue"), Slurm()
    assert [answer.told(slurm, since=0.0).text for _ in range(2)] == ["answer 1\n", "answer 2\n"]
    answer.forget()
