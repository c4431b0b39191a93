"""Every case of `hpcai why`: what it tells, from what, and what to do; and the page that lists them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.check.why import ask
from hpcai.check.why.answer import answer
from hpcai.check.why.ask import gather
from hpcai.check.why.facts import Facts, Log
from hpcai.check.why.page import page
from hpcai.check.why.table import causes, fill
from hpcai.check.why.values import values_of
from hpcai.runs import tails
from hpcai.slurm import reasons
from tests.check import why_cases

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in why_cases.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_case(name: str, tmp_path: Path) -> None:
    case = why_cases.load(name)
    told = why_cases.Case(case, tmp_path).told()
    expect = case["expect"]
    assert case["source"].strip()
    shown = f"{told.sentence}\n" + "\n".join(f"{one.where}: {one.what}" for one in told.evidence)
    assert told.case == expect["case"], shown
    assert expect["sentence"] in told.sentence
    evidence = [f"{one.where}: {one.what}".replace(str(tmp_path), "{folder}") for one in told.evidence]
    for piece in expect["evidence"]:
        assert any(piece in one for one in evidence), "\n".join(evidence)
    for step in expect["next"]:
        assert any(step in one for one in told.next), "\n".join(told.next)
    for word in expect.get("never", ()):
        assert word not in shown + "\n".join(told.next)
    # One sentence, and nothing of a template left in it or in a step.
    assert told.sentence.endswith(".") and "\n" not in told.sentence
    assert not [
        text for text in (told.sentence, *told.next) if "{" in text.replace("%{", "") or "None" in text
    ]


def test_there_are_at_least_forty_cases_and_each_id_of_a_log_has_one() -> None:
    expected = {why_cases.load(name)["expect"]["case"] for name in NAMES}
    assert len(NAMES) >= 40
    assert expected <= causes().keys()
    assert causes().keys() - expected == set()


def test_each_of_the_fifteen_failures_of_containers_is_told_or_cannot_be_seen_in_a_log() -> None:
    assert {one.failure for one in causes().values() if one.failure} == set(range(1, 16))


def test_a_job_of_which_nothing_is_known_gets_an_answer_from_every_cause() -> None:
    facts = Facts("Job 12", "12", "PENDING", why_cases.NOW)
    known = values_of(facts) | {"who": "it"}
    for cause in causes().values():
        groups = set(cause.match.groupindex) if cause.match else set()
        told = (
            ["reason"] if cause.of == "waiting" else ["exception"] if cause.id == "python-exception" else []
        )
        values = {**known, **dict.fromkeys([*cause.requires, *groups, *told], "x")}
        filled = fill(cause.says, values)
        assert filled is not None, cause.id
        assert "{" not in filled, cause.id


def test_the_page_lists_every_cause(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs/why.md", page())


@pytest.mark.parametrize("state", ["FAILED", "PENDING", "RUNNING", "TIMEOUT", "UNKNOWN", "SOMETHING_NEW"])
def test_an_answer_is_always_given(state: str) -> None:
    told = answer(Facts("Job 12", "12", state, why_cases.NOW))
    assert told.sentence.startswith("Job 12 ")


def test_what_a_log_says_is_one_word_of_a_command_and_moves_no_cursor(tmp_path: Path) -> None:
    case = why_cases.load("file-missing")
    path = "/data/x'; rm -rf $HOME; echo '\x1b[2J"
    error = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nFileNotFoundError: '
    case["record"]["logs"] = {"0/1.err": f'{error}[Errno 2] No such file or directory: "{path}"\n'}
    told = why_cases.Case(case, tmp_path).told()
    assert told.case in ("file-missing", "python-exception")
    case["record"]["logs"] = {
        "0/1.err": f"{error}[Errno 2] No such file or directory: '/a;b $(c)\x1b[2J\x07'\n"
    }
    told = why_cases.Case(case, tmp_path / "2").told()
    step = next(step for step in told.next if step.startswith("srun "))
    assert [word.strip() for word in shlex.split(step, comments=True)[-2:]] == ["-ld", "/a;b $(c)"]
    assert all(
        text.isprintable() for text in (told.sentence, *told.next, *(one.what for one in told.evidence))
    )


@pytest.mark.parametrize("name", NAMES)
def test_slurm_is_asked_little(name: str, tmp_path: Path) -> None:
    asked = why_cases.Case(why_cases.load(name), tmp_path).asked()
    gather(asked)
    client = asked.client
    assert client is None or isinstance(client, why_cases.Told)
    assert client is None or len(client.asked) <= 3, client.asked


def test_of_a_thousand_ranks_a_few_logs_are_read_and_that_of_the_first_to_fail_is_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = why_cases.load("rank-failed")
    error = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nValueError: mine\n'
    logs = {f"0/{rank}.err": "step\n" for rank in range(1000)} | {"0/777.err": error}
    case["record"]["logs"] = {**logs, "batch.out": "srun: error: gpu-9: task 777: Exited with exit code 1\n"}
    read: list[Path] = []

    def end_of(path: Path, *rest: int) -> tails.End | None:
        read.append(path)
        return tails.end_of(path, *rest)

    monkeypatch.setattr(ask, "end_of", end_of)
    told = why_cases.Case(case, tmp_path).told()
    assert told.sentence == "train failed: rank 777 on gpu-9 ended with ValueError at t.py:1: mine."
    assert len(read) <= 17


def test_queue_and_why_say_alike_whether_a_job_never_starts() -> None:
    waiting = {case: cause.says for case, cause in causes().items() if cause.of == "waiting"}
    in_queue = {case: words for case, _, words in reasons.WAITS}
    # In the same order, in which they are tried.
    assert list(waiting) == list(in_queue)
    assert {case: says.startswith("never starts") for case, says in waiting.items()} == {
        case: words.startswith("never starts") for case, words in in_queue.items()
    }


def lines_of_cases() -> list[str]:
    found: set[str] = set()
    for name in NAMES:
        case = why_cases.load(name)
        texts = [*case.get("files", {}).values(), *case.get("record", {}).get("logs", {}).values()]
        found.update(line for text in texts if isinstance(text, str) for line in text.splitlines())
    return sorted(found)


LOGS = st.lists(st.lists(st.sampled_from(lines_of_cases()) | st.text(max_size=30), max_size=30), max_size=4)


@given(LOGS, st.sampled_from(["FAILED", "RUNNING", "TIMEOUT", "COMPLETED", "OUT_OF_MEMORY"]), st.booleans())
def test_whatever_logs_hold_there_is_one_sentence(
    logs: list[list[str]], state: str, has_record: bool
) -> None:
    told = answer(
        Facts(
            *("train", "e/train", state, why_cases.NOW),
            has_record=has_record,
            again=why_cases.AGAIN,
            logs=[
                Log(tails.End(Path(f"/nothing/{rank}.err"), tuple(lines), 0, float(rank)), rank or None)
                for rank, lines in enumerate(logs)
            ],
        )
    )
    assert told.case in causes()
    assert told.sentence.startswith("train ") and told.sentence.endswith(".")
    assert told.sentence.isprintable() and all(step.isprintable() for step in told.next)
