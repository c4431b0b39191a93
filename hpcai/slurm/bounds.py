"""The limit behind a reason such as QOSMaxJobsPerUserLimit, as sacctmgr shows it. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_QOS = (
    *("GrpJobs", "GrpSubmit", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpWall", "MaxTRES"),
    *("MaxTRESPerNode", "MaxTRESMins", "MaxWall", "MaxTRESPU", "MaxJobsPU", "MaxSubmitPU", "MaxTRESPA"),
    *("MaxJobsPA", "MaxSubmitPA", "MaxTRESRunMinsPU", "MaxTRESRunMinsPA", "MinTRES"),
)
_ASSOCIATION = (
    *("GrpJobs", "GrpSubmit", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins", "GrpWall", "MaxJobs", "MaxSubmit"),
    *("MaxTRES", "MaxTRESPerNode", "MaxTRESMins", "MaxWall"),
)
_REASON = re.compile(
    r"(?P<scope>QOS|Qos|Assoc)?(?P<kind>Grp|Max|Min)(?P<what>Jobs|Submit(?:Jobs?)?|Wall(?:Duration)?|[A-Z]\w*?)"
    r"(?P<run>Run)?(?P<minutes>Min(?:ute)?s)?(?:Per(?P<per>Job|User|Account|Node))?(?:Limit|NotSatisfied)?"
)
_RESOURCES = {"cpu": "cpu", "mem": "mem", "memory": "mem", "node": "node", "gres": "gres/", "bb": "bb/"}
# Accounts below accounts, up to the root; more levels nobody has.
_MOST_LEVELS = 8
Ask = Callable[[Sequence[str], Callable[[str], list[dict[str, str]]]], list[dict[str, str]]]


@dataclass(frozen=True)
class Bound:
    """One limit: whose it is, by which name sacctmgr shows it, and how much it is: `cpu=4`, `1`."""

    whose: str
    name: str
    value: str
    used: str | None = None
    """How much of it is in use, as slurmctld says; None where it does not tell, and of what is of one job."""

    def __str__(self) -> str:
        used = f", {self.used} in use" if self.used else ""
        return f"{self.name} is {self.value}{used}"


@dataclass(frozen=True)
class _Wanted:
    """What a reason means: a column, and of a list of resources one; of a QOS or an association."""

    is_of_qos: bool
    column: str
    resource: str | None

    def value_in(self, row: dict[str, str]) -> str | None:
        told = row.get(self.column, "")
        if self.resource is None:
            return told or None
        found = [one for one in told.split(",") if one.startswith(self.resource)]
        return ",".join(found) or None


def is_of_qos(reason: str) -> bool:
    """Whether a reason means a limit of a QOS."""
    wanted = _wanted(reason)
    return wanted is not None and wanted.is_of_qos


def bound_of(reason: str, account: str | None, user: str, qos: str | None, ask: Ask) -> Bound | None:
    """The limit that a job waits for, of this QOS or of the account; None where it is not shown.

    Raises what `ask` raises.
    """
    wanted = _wanted(reason)
    if wanted is None or (wanted.is_of_qos and qos is None):
        return None
    told: Iterator[tuple[str, dict[str, str]]]
    if wanted.is_of_qos:
        argv = _argv("qos", ("Name", *_QOS), f"name={qos}")
        told = ((f"QOS {qos}", row) for row in ask(argv, lambda text: _rows(text, ("Name", *_QOS))))
    else:
        told = _associations(account, user, ask)
    for whose, row in told:
        value = wanted.value_in(row)
        if value is not None:
            return Bound(whose, wanted.column, value)
    return None


def usage_argv(bound: Bound) -> list[str]:
    """The question to slurmctld of how much of a limit is in use."""
    kind, _, name = bound.whose.rpartition(" ")
    which = [f"qos={name}", "flags=qos"] if kind == "QOS" else [f"accounts={name}", "flags=assoc"]
    return ["scontrol", "show", "assoc_mgr", *which]


def with_usage(bound: Bound, user: str, text: str) -> Bound:
    """The limit with what `scontrol show assoc_mgr` says of its use: `GrpTRES=cpu=4(3)` is 3 of 4."""
    block = _block_of(bound, user, text)
    names = {"GrpSubmit": "GrpSubmitJobs", "MaxSubmitPU": "MaxSubmitJobsPU", "MaxSubmitPA": "MaxSubmitJobsPA"}
    line = re.search(rf"\b{names.get(bound.name, bound.name)}=(\S*)", block)
    key, _, amount = bound.value.rpartition("=")
    found = (
        re.search(
            rf"(?:^|,){re.escape(key)}={amount}\(([\d.]+)\)" if key else rf"^{amount}\(([\d.]+)\)", line[1]
        )
        if line
        else None
    )
    return bound if found is None else dataclasses.replace(bound, used=found[1])


def _block_of(bound: Bound, user: str, text: str) -> str:
    """What is said of one QOS, of one user in it, or of one association."""
    if bound.whose.startswith("QOS "):
        block = text.partition(f"QOS={bound.whose.removeprefix('QOS ')}(")[2].partition("\nQOS=")[0]
        if not bound.name.endswith("PU"):
            return block
        return block.partition("User Limits")[2].partition(f" {user}(")[2]
    whose = f"UserName={user}(" if bound.whose.startswith("user ") else "UserName= "
    blocks = re.split(r"^(?=ClusterName=)", text, flags=re.MULTILINE)
    return next((block for block in blocks if whose in block), "")


def _wanted(reason: str) -> _Wanted | None:
    found = _REASON.fullmatch(reason)
    if found is None:
        return None
    # Limits of one account by itself, such as MaxJobsPerAccount, are of a QOS too.
    is_of_qos = found["scope"] != "Assoc"
    kind, what, per = found["kind"], found["what"], found["per"]
    ends = {"User": "PU", "Account": "PA", "Node": "PerNode"} if is_of_qos else {"Node": "PerNode"}
    end = "" if kind == "Grp" else ends.get(per or "", "")
    for begin, name in (("Jobs", "Jobs"), ("Submit", "Submit"), ("Wall", "Wall")):
        if what.startswith(begin):
            return _Wanted(is_of_qos, f"{kind}{name}{end}", None)
    resource = _RESOURCES.get(what.lower(), what.lower())
    minutes = ("RunMins" if found["run"] else "Mins") if found["minutes"] else ""
    column = "MinTRES" if kind == "Min" else f"{kind}TRES{minutes}{end}"
    return _Wanted(is_of_qos, column, resource)


def _associations(account: str | None, user: str, ask: Ask) -> Iterator[tuple[str, dict[str, str]]]:
    """The user's own association, then its account's, then those above it."""
    names = ("Account", "User", "ParentName", *_ASSOCIATION)
    above = account
    for _ in range(_MOST_LEVELS):
        if not above:
            return
        rows = ask(_argv("associations", names, f"account={above}"), lambda text: _rows(text, names))
        for row in rows:
            if row["User"] == user and above == account:
                yield f"user {user} in account {above}", row
        own = next((row for row in rows if not row["User"]), None)
        if own is None:
            return
        yield f"account {above}", own
        above = own["ParentName"] if own["ParentName"] != above else None


def _argv(what: str, names: Sequence[str], which: str) -> list[str]:
    how = ["sacctmgr", "--noheader", "--parsable2", "--readonly", "show", what]
    return [*how, "where", which, f"format={','.join(names)}"]


def _rows(text: str, names: Sequence[str]) -> list[dict[str, str]]:
    """The lines of `sacctmgr --parsable2`, by the columns that were asked. Raises ValueError."""
    lines = [line.split("|") for line in text.splitlines() if line.strip()]
    return [dict(zip(names, (one.strip() for one in line), strict=True)) for line in lines]
