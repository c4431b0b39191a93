"""The one sentence, its evidence and the next steps, from what is known. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from hpcai.check.why import azure
from hpcai.check.why.choose import Choice, choose
from hpcai.check.why.evidence import evidence_of, of_choice, of_last_lines
from hpcai.check.why.facts import Answer, Evidence, Facts
from hpcai.check.why.scan import Sign
from hpcai.check.why.table import Cause, causes, fill
from hpcai.check.why.values import srun_of, values_of
from hpcai.runs.tails import printable

# Values that logs and Slurm tell as they are: in a command to type they are one word.
_RAW = frozenset(
    (
        *("node_list", "unavailable", "required", "node", "azure_node", "path", "path_", "file", "program"),
        *("command", "module", "reservation", "qos", "account", "user", "nodearray", "vm_size"),
        *("quota_region", "canceller", "mount", "container", "option", "url"),
    )
)
# Of a job that ran out of memory by Slurm's word, only lines of these tell more.
_OF_MEMORY = ("rank-out-of-memory", "step-out-of-memory", "host-memory", "worker-killed", "rank-killed")


def answer(facts: Facts) -> Answer:
    """Why the job stands as it does."""
    values = values_of(facts)
    told = azure.problem(facts)
    if told is not None:
        values |= told.values
        return _answer(told.cause, values, facts, told.evidence)
    if facts.state == "PENDING":
        return _answer(_waiting(facts, values), values, facts)
    choice = choose(facts, _OF_MEMORY if facts.state == "OUT_OF_MEMORY" else ())
    if facts.state != "OUT_OF_MEMORY" and choice.sign is not None and facts.cause != "evicted":
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
    task = first.rank if first is not None and first.is_task else None
    code = sign.code and sign.code.rpartition("/")[2]
    values: dict[str, object] = {**sign.values, "line": sign.line, "who": who, "node": node, "code": code}
    values["before"] = None if is_alone else "before the others"
    values |= {"logs": _logs(facts, sign.log.rank, is_batch=sign.log.rank is None)}
    return {**values, "task_logs": _logs(facts, task), "srun": srun_of(facts, node)}


def _logs(facts: Facts, rank: int | None, *, is_batch: bool = False) -> str:
    """The command that prints a rank's log, or the batch part's."""
    words = f"hpcai logs {facts.ident}"
    if not facts.keeps_logs or not (rank or is_batch):
        return words
    return f"{words} --batch" if is_batch else f"{words} --rank {rank}"


def _answer(
    cause: Cause, values: Mapping[str, object], facts: Facts, first: Iterable[Evidence] = ()
) -> Answer:
    # A line may lack what its cause tells of it, such as a value that is empty.
    says = fill(cause.says, values) or f"failed: {values.get('line', facts.state)}"
    typed = {
        name: shlex.quote(value) if name in _RAW and isinstance(value, str) else value
        for name, value in values.items()
    }
    steps = [printable(step).strip() for one in cause.next if (step := fill(one, typed))]
    evidence = [
        Evidence(printable(one.where), printable(one.what)) for one in (*first, *evidence_of(facts, cause))
    ]
    sentence = " ".join(printable(f"{facts.name} {says}").split()).rstrip(".")
    return Answer(cause.id, f"{sentence}.", list(dict.fromkeys(evidence)), list(dict.fromkeys(steps)))
