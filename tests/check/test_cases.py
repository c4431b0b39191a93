"""Every id of a finding, by its cases; the page that lists them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hpcai import entry
from hpcai.check import exports, findings, paths, places
from hpcai.check.pages import page
from tests.check import cases
from tests.closed import as_ordinary_user

ROOT = Path(__file__).parents[2]
IDENTS = sorted(path.stem for path in cases.FOLDER.glob("*.yaml"))
# These come from Slurm, from services, from reading a file or from looking at a whole site: other tests
# make them come.
ELSEWHERE = {
    "schedule-impossible",
    *("file-mistake", "file-unread", "profile-untold", "no-slurm", "refused"),
    *("start-unknown", "start", "script-renders", "dependency-never", "dependency-unknown"),
    *("data", "data-version", "cluster-open", "cluster-renders", "node-unasked"),
}


def every(kind: str) -> list[Any]:
    return [
        pytest.param(ident, given, id=f"{ident}-{number}")
        for ident in IDENTS
        for number, given in enumerate(cases.load(ident).get(kind) or [])
    ]


def look(given: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[findings.Finding]:
    case = cases.Case(given, folder)
    monkeypatch.setattr(places, "mounts", case.mounts)
    (folder / "etab").write_text(case.of(given.get("exports", "")))
    monkeypatch.setattr(exports, "NOW", folder / "etab")
    monkeypatch.setattr(exports, "TOLD", (folder / "exports", folder / "exports.d"))
    monkeypatch.setattr(Path, "home", lambda: folder)
    monkeypatch.chdir(folder)
    if "silent" in given:
        monkeypatch.setattr(entry, "looked_at", case.waits_for_ever)
        monkeypatch.setattr(paths, "ANSWERS_WITHIN_S", 0.3)
    try:
        with as_ordinary_user() if "closed" in given else nullcontext():
            return case.found()
    finally:
        case.comes_back.set()


# `bash -n` reads what the jobs give to bash.
@pytest.mark.programs
@pytest.mark.parametrize(("ident", "given"), every("bad"))
def test_what_is_bad_is_found(
    ident: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_one = look(given, tmp_path, monkeypatch)
    found = [finding for finding in every_one if finding.id == ident]
    assert found, [finding.id for finding in every_one]
    [one, *_] = found
    known = findings.known()[ident]
    assert {finding.severity for finding in found} <= set(known.severity.split(", "))
    if "severity" in given:
        assert one.severity == given["severity"]
    if "place" in given:
        assert given["place"] in {str(each.place).partition(":")[2] for each in found}
    assert given.get("what", "") in " ".join(each.what for each in found)
    assert given.get("fix", "") in str(one.fix)
    # Whoever is told of something bad is told what to do.
    assert one.severity == "ok" or one.fix
    assert {finding.id for finding in every_one} <= findings.known().keys()


@pytest.mark.programs
@pytest.mark.parametrize(("ident", "given"), every("good"))
def test_what_is_good_is_not_found(
    ident: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [finding for finding in look(given, tmp_path, monkeypatch) if finding.id == ident]
    assert found == []


@pytest.mark.programs
@pytest.mark.parametrize(
    ("ident", "begins"), [("array-too-large", "0-5000"), ("no-partition", "There is no partition")]
)
def test_a_finding_does_not_tell_its_key_twice(
    ident: str, begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = {"partitions": [{"name": "main", "total_nodes": 9}], "config": {"MaxArraySize": "1001"}}
    jobs = {
        "array-too-large": "array: 0-5000\n",
        "no-partition": "components: [{}, {partition: none}]\n",
    }
    given = {"job": f'command: "true"\n{jobs[ident]}', "slurm": slurm}
    [one] = [finding for finding in look(given, tmp_path, monkeypatch) if finding.id == ident]
    assert one.what.startswith(begins)


def test_every_id_of_a_job_has_its_cases() -> None:
    of_site = {one.id for one in findings.known().values() if one.of == "site"}
    assert set(IDENTS) | ELSEWHERE | of_site >= findings.known().keys()
    assert set(IDENTS) <= findings.known().keys()
    assert not set(IDENTS) & ELSEWHERE


def test_each_of_the_fifteen_failures_of_containers_has_an_id_with_cases() -> None:
    told = {one.failure for one in findings.known().values() if one.failure and one.id in IDENTS}
    assert told == set(range(1, 16))


def test_every_id_that_the_code_names_is_known_and_every_known_one_is_named() -> None:
    named = set()
    for path in (ROOT / "hpcai").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "Finding",
                "Breach",
                "_of_error",
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    named.add(first.value)
    assert named == set(findings.known())


def test_the_page_on_checks_lists_every_id(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs/checks.md", page())
