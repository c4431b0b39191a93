"""Every case of `hpcai why`: what it tells, from what, and what to do; and the page that lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpcai.check.why.answer import answer
from hpcai.check.why.facts import Facts
from hpcai.check.why.page import page
from hpcai.check.why.table import causes, fill
from hpcai.check.why.values import values_of
from tests.check import why_cases

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in why_cases.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_case(name: str, tmp_path: Path) -> None:
    given = why_cases.load(name)
    told = why_cases.Case(given, tmp_path).told()
    expect = given["expect"]
    assert given["source"].strip()
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
