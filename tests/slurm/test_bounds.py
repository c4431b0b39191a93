"""Which limit a reason means, and its number in what sacctmgr and scontrol print."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from hpcai.slurm import bounds
from hpcai.slurm.bounds import Bound


class Sacctmgr:
    """Answers each question with the rows of its columns."""

    def __init__(self, *rows: dict[str, str]) -> None:
        self.rows = rows
        self.asked: list[str] = []

    def __call__(
        self, argv: Sequence[str], parse: Callable[[str], list[dict[str, str]]]
    ) -> list[dict[str, str]]:
        self.asked.append(" ".join(argv))
        names = argv[-1].removeprefix("format=").split(",")
        account = next((word.partition("=")[2] for word in argv if word.startswith("account=")), None)
        rows = [row for row in self.rows if row.get("Account") == account]
        return parse("".join("|".join(row.get(name, "") for name in names) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("reason", "row", "told"),
    [
        ("QOSMaxJobsPerUserLimit", {"MaxJobsPU": "1", "MaxJobsPA": "9"}, "MaxJobsPU is 1"),
        ("QOSMaxSubmitJobPerUserLimit", {"MaxSubmitPU": "10"}, "MaxSubmitPU is 10"),
        ("QOSMaxCpuPerUserLimit", {"MaxTRESPU": "cpu=8,gres/gpu=4"}, "MaxTRESPU is cpu=8"),
        ("QOSMaxGRESPerUser", {"MaxTRESPU": "cpu=8,gres/gpu=4"}, "MaxTRESPU is gres/gpu=4"),
        ("QOSMaxCpuPerJobLimit", {"MaxTRES": "cpu=2"}, "MaxTRES is cpu=2"),
        ("QOSMaxNodePerUserLimit", {"MaxTRESPU": "node=2"}, "MaxTRESPU is node=2"),
        ("QOSMaxCpuPerNode", {"MaxTRESPerNode": "cpu=2"}, "MaxTRESPerNode is cpu=2"),
        ("QOSMaxWallDurationPerJobLimit", {"MaxWall": "00:05:00"}, "MaxWall is 00:05:00"),
        ("QOSMaxCpuMinutesPerJobLimit", {"MaxTRESMins": "cpu=60"}, "MaxTRESMins is cpu=60"),
        ("QOSGrpMemoryMinutes", {"GrpTRESMins": "mem=60"}, "GrpTRESMins is mem=60"),
        ("QOSGrpCPURunMinutesLimit", {"GrpTRESRunMins": "cpu=60"}, "GrpTRESRunMins is cpu=60"),
        ("QOSGrpSubmitJobsLimit", {"GrpSubmit": "5"}, "GrpSubmit is 5"),
        ("QOSMinGRES", {"MinTRES": "gres/gpu=1"}, "MinTRES is gres/gpu=1"),
        ("QOSMinCpuNotSatisfied", {"MinTRES": "cpu=4"}, "MinTRES is cpu=4"),
        ("MaxJobsPerAccount", {"MaxJobsPA": "3"}, "MaxJobsPA is 3"),
        ("MaxMemoryPerAccount", {"MaxTRESPA": "mem=1T"}, "MaxTRESPA is mem=1T"),
        ("QOSMaxJobsPerUserLimit", {"MaxJobsPA": "9"}, None),
    ],
)
def test_a_limit_of_a_qos(reason: str, row: dict[str, str], told: str | None) -> None:
    ask = Sacctmgr({"Name": "normal", **row})
    found = bounds.bound_of(reason, "vision", "ada", "normal", ask)
    assert (str(found) if found else None) == told
    assert len(ask.asked) == 1 and bounds.is_of_qos(reason)


@pytest.mark.parametrize(
    ("reason", "row", "whose", "told"),
    [
        ("AssocGrpCpuLimit", {"GrpTRES": "cpu=4"}, "account vision", "GrpTRES is cpu=4"),
        ("AssocGrpJobsLimit", {"GrpJobs": "4"}, "account vision", "GrpJobs is 4"),
        (
            "AssocGrpGRESRunMinutes",
            {"GrpTRESRunMins": "gres/gpu=9"},
            "account vision",
            "GrpTRESRunMins is gres/gpu=9",
        ),
        ("AssocMaxWallDurationPerJobLimit", {"MaxWall": "1-00"}, "account vision", "MaxWall is 1-00"),
        (
            "AssocGrpNodeLimit",
            {"User": "ada", "GrpTRES": "node=1"},
            "user ada in account vision",
            "GrpTRES is node=1",
        ),
        ("AssocMaxJobsLimit", {"User": "ada", "MaxJobs": "2"}, "user ada in account vision", "MaxJobs is 2"),
        ("AssocMaxJobsLimit", {"User": "bob", "MaxJobs": "2"}, None, None),
    ],
)
def test_a_limit_of_an_association(
    reason: str, row: dict[str, str], whose: str | None, told: str | None
) -> None:
    ask = Sacctmgr({"Account": "vision", "ParentName": "root"}, {"Account": "vision", **row})
    if "User" not in row:
        ask = Sacctmgr(
            {"Account": "vision", "User": "ada"}, {"Account": "vision", "ParentName": "root", **row}
        )
    found = bounds.bound_of(reason, "vision", "ada", "normal", ask)
    assert (found.whose if found else None, str(found) if found else None) == (whose, told)
    assert not bounds.is_of_qos(reason)


def test_an_account_is_bound_by_those_above_it() -> None:
    ask = Sacctmgr(
        {"Account": "vision", "User": "ada"},
        {"Account": "vision", "ParentName": "research"},
        {"Account": "research", "ParentName": "root", "GrpTRES": "cpu=64"},
        {"Account": "research", "User": "ada", "GrpTRES": "cpu=1"},
    )
    assert bounds.bound_of("AssocGrpCpuLimit", "vision", "ada", None, ask) == Bound(
        "account research", "GrpTRES", "cpu=64"
    )
    assert len(ask.asked) == 2


@pytest.mark.parametrize("reason", ["Resources", "Priority", "AssocGrpUnknown", "None", "BeginTime"])
def test_other_reasons_mean_no_limit(reason: str) -> None:
    assert bounds.bound_of(reason, None, "ada", "normal", Sacctmgr()) is None


# As Slurm 24.11 printed it on the embedded cluster, cut to what is read.
USAGE = """\
Current Association Manager state

QOS Records

QOS=normal(1)
    GrpJobs=N(1) GrpJobsAccrue=N(1) GrpSubmitJobs=N(2) GrpWall=N(0.02)
    GrpTRES=cpu=6(2),mem=N(6026),gres/gpu=N(0)
    User Limits
      bob(1001)
        MaxJobsPU=1(0) MaxJobsAccruePU=N(0) MaxSubmitJobsPU=9(0)
        MaxTRESPU=cpu=N(0),mem=N(0)
      ada(1000)
        MaxJobsPU=1(1) MaxJobsAccruePU=N(1) MaxSubmitJobsPU=9(2)
        MaxTRESPU=cpu=2(2),mem=N(6026)
"""
USAGE_OF_ACCOUNTS = """\
Association Records

ClusterName=local Account=local UserName= Partition= Priority=0 ID=3
    GrpJobs=N(2) GrpJobsAccrue=N(5)
    GrpTRES=cpu=3(3),mem=N(18078)
ClusterName=local Account=local UserName=ada(1000) Partition= Priority=0 ID=4
    GrpJobs=N(2) GrpJobsAccrue=N(5)
    GrpTRES=cpu=4(1),mem=N(18078)
    MaxJobs=2(1) MaxJobsAccrue= MaxSubmitJobs= MaxWallPJ=
"""


@pytest.mark.parametrize(
    ("bound", "text", "used"),
    [
        (Bound("QOS normal", "MaxJobsPU", "1"), USAGE, "1"),
        (Bound("QOS normal", "MaxSubmitPU", "9"), USAGE, "2"),
        (Bound("QOS normal", "MaxTRESPU", "cpu=2"), USAGE, "2"),
        (Bound("QOS normal", "GrpTRES", "cpu=6"), USAGE, "2"),
        (Bound("QOS normal", "MaxWall", "00:05:00"), USAGE, None),
        (Bound("QOS other", "MaxJobsPU", "1"), USAGE, None),
        (Bound("account local", "GrpTRES", "cpu=3"), USAGE_OF_ACCOUNTS, "3"),
        (Bound("user ada in account local", "GrpTRES", "cpu=4"), USAGE_OF_ACCOUNTS, "1"),
        (Bound("user ada in account local", "MaxJobs", "2"), USAGE_OF_ACCOUNTS, "1"),
        (Bound("account local", "GrpTRES", "cpu=3"), "", None),
    ],
)
def test_how_much_of_a_limit_is_in_use(bound: Bound, text: str, used: str | None) -> None:
    assert bounds.with_usage(bound, "ada", text).used == used


def test_usage_is_asked_of_what_has_the_limit() -> None:
    assert bounds.usage_argv(Bound("QOS normal", "MaxJobsPU", "1"))[-2:] == ["qos=normal", "flags=qos"]
    of_user = bounds.usage_argv(Bound("user ada in account local", "MaxJobs", "2"))
    assert of_user[-2:] == ["accounts=local", "flags=assoc"]
