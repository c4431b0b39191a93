"""The one sentence, its evidence and the next steps, from what is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hpcai.check.why import azure
from hpcai.check.why.choose import Choice, choose
from hpcai.check.why.evidence import evidence_of, of_choice, of_last_lines
from hpcai.check.why.facts import Answer, Evidence, Facts
from hpcai.check.why.scan import Sign
from hpcai.check.why.table import Cause, causes, fill
from hpcai.check.why.values import values_of

# Of a job that ended so, no line of a log tells more than Slurm does.
_SLURM_KNOWS = ("OUT_OF_MEMORY",)


def answer(facts: Facts) -> Answer:
    """Why the job stands as it does."""
    values = values_of(facts)
    told = azure.problem(facts)
    if told is not None:
        values |= told.values
        return _answer(told.cause, values, facts, told.evidence)
    if facts.state == "PENDING":
        return _answer(_waiting(facts, values), values, facts)
    choice = choose(facts)
    if choice.sign is not None and facts.state not in _SLURM_KNOWS and facts.cause != "evicted":
        values |= _of_sign(choice.sign, choice, facts)
        return _answer(choice.sign.cause, values, facts, of_choice(choice))
    cause = _of_state(facts, values)
    return _answer(cause, values, facts, [*of_choice(choice), *of_last_lines(facts, cause)])


def _waiting(facts: Facts, values: Mapping[str, object]) -> Cause:
    reason = (facts.job.reason if facts.job else None) or "None"
    rows = (row for row in causes().values() if row.of == "waiting")
    return next(row for row in rows if row.reason and row.reason.fullmatch(reason) and _has(row, values))


def _of_state(facts: Facts, values: Mapping[str, object]) -> Cause:
    code = f"{facts.exit_status or 0}:{facts.signal or 0}"
    reason = (facts.job.reason if facts.job else None) or "None"
    for row in causes().values():
        if row.of not in ("states", "fallback") or not _has(row, values):
            continue
        if row.states and facts.state not in row.states:
            continue
        if row.record and facts.cause not in row.record:
            continue
        if (row.exit and not row.exit.fullmatch(code)) or (row.reason and not row.reason.fullmatch(reason)):
            continue
        return row
    raise AssertionError("the last row fits everything")


def _has(row: Cause, values: Mapping[str, object]) -> bool:
    return all(values.get(name) is not None for name in row.requires)


def _of_sign(sign: Sign, choice: Choice, facts: Facts) -> dict[str, object]:
    """Values of a line, whose it is, and the command that prints it."""
    rank = sign.rank
    first = choice.first
    node = first.node if first is not None and first.is_of(sign) else sign.values.get("node")
    is_alone = len({log.rank for log in facts.logs if log.rank is not None}) <= 1 and rank in (None, 0)
    who = "it" if rank is None or is_alone else f"rank {rank}" + (f" on {node}" if node else "")
    logs = f"hpcai logs {facts.ident}"
    if facts.has_record:
        shown = sign.log.rank
        logs += " --batch" if shown is None else f" --rank {shown}" if shown else ""
    code = sign.code and sign.code.rpartition("/")[2]
    task = first.rank if first is not None and first.is_task and facts.has_record else None
    task_logs = f"hpcai logs {facts.ident}" + (f" --rank {task}" if task is not None else "")
    return {
        **sign.values,
        "task_logs": task_logs,
        "who": who,
        "node": node,
        "logs": logs,
        "code": code,
        "code_path": sign.code,
    }


def _answer(
    cause: Cause, values: Mapping[str, object], facts: Facts, first: Iterable[Evidence] = ()
) -> Answer:
    # A line may lack what its cause tells of it, such as a value that is empty.
    says = fill(cause.says, values) or f"failed: {values.get('line', facts.state)}"
    steps = [step for one in cause.next if (step := fill(one, values))]
    evidence = list(dict.fromkeys([*first, *evidence_of(facts, cause)]))
    return Answer(cause.id, f"{facts.name} {_tidy(says)}.", evidence, list(_once(steps)))


def _tidy(says: str) -> str:
    return " ".join(says.split()).rstrip(".")


def _once(steps: Iterable[str]) -> Iterator[str]:
    yield from dict.fromkeys(steps)
