"""What Slurm's commands print, as values. Pure: no process is started here.

The forms are those of Slurm 22.05 and later; instants are UTC seconds when the command ran with TZ=UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone

from hpcai.slurm.answers import (
    Association,
    ExpectedStart,
    JobInfo,
    NodeGroup,
    NodeInfo,
    PartitionInfo,
)
from hpcai.units import parse_duration_s

# Values of `scontrol show` that may hold anything; each stands alone on its line.
_FREE_TEXT = (
    *("Command", "SubmitLine", "WorkDir", "Comment", "AdminComment", "SystemComment", "Extra"),
    *("StdErr", "StdIn", "StdOut"),
)
_FREE_TEXT_OF_NODE = ("OS", "Reason", "Comment", "Extra")
_NOTHING = ("", "(null)", "N/A", "None", "NONE", "Unknown", "UNLIMITED", "n/a")
# A unit separator: no name, path or comment that a person types holds one.
SEPARATOR = "\x1f"
# squeue's names of the fields of JOB_LINE, in its order.
JOB_FIELDS = (
    "JobID",
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "Reason",
    "UserName",
    "Partition",
    "RestartCnt",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "TimeLimit",
    "NumNodes",
    "NodeList",
    "Command",
    "WorkDir",
    "STDOUT",
    "Comment",
    "Name",
)
# Number, state with its sign (`idle~`), names and reason.
GROUP_FORMAT = "%D|%T|%N|%E"
ASSOCIATION_FORMAT = "Account,Partition,QOS,DefaultQOS"
JOB_FORMAT = ",".join(f"{name}:{SEPARATOR}" for name in JOB_FIELDS)
# Of jobs that it ends so itself slurmctld (24.11 for one) fills in `0:1` where no status came: no SIGHUP.
_ENDED_BY_SLURM = ("BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED", "NODE_FAIL", "PREEMPTED", "TIMEOUT")


def job_id_of_sbatch(text: str) -> int:
    """The job id in what `sbatch --parsable` prints: `id` or `id;cluster`.

    Raises ValueError.
    """
    for line in reversed(text.splitlines()):
        found = re.fullmatch(r"(\d+)(;\S+)?", line.strip())
        if found:
            return int(found[1])
    raise ValueError(f"{text!r} holds no job id")


def expected_start(text: str) -> ExpectedStart:
    """What `sbatch --test-only` prints on stderr when the job could run.

    Raises ValueError.
    """
    # Slurm 25.05 and later print `at TIME a using`, and before the `a` the cluster when one was asked for.
    form = r"Job \d+ to start at (\S+)(?: on cluster \S+)?(?: a)? using .* on "
    form += r"(?:nodes (\S*) in partition )?(\S+)"
    found = re.search(form, text)
    start_time = instant(found[1]) if found else None
    if found is None or start_time is None:
        raise ValueError(f"{text!r} holds no expected start")
    # Of a heterogeneous job it names no partition.
    node_list, partition = (found[3], "") if found[2] is None else (found[2], found[3])
    return ExpectedStart(start_time, node_list, partition)


def mpi_plugins(text: str) -> frozenset[str]:
    """The names in what `srun --mpi=list` prints, such as none, pmi2, pmix, pmix_v4.

    Since Slurm 22.05 they stand on stdout; before, on stderr, each behind `srun: `. Raises ValueError.
    """
    names: set[str] = set()
    for line in text.splitlines():
        word = line.strip().removeprefix("srun: ")
        versions = re.fullmatch(r"specific pmix plugin versions available: (\S+)", word)
        if versions:
            names.update(versions[1].split(","))
        elif re.fullmatch(r"[\w/]+", word):
            names.add(word.removeprefix("mpi/"))
    if not names:
        raise ValueError(f"{text!r} names no MPI plugin")
    return frozenset(names)


def exit_code(text: str, state: str) -> tuple[int, int]:
    """Exit status and signal of Slurm's `status:signal` for a job that ended in this state.

    Raises ValueError.
    """
    status, _, signal = text.partition(":")
    ended = int(status), int(signal or 0)
    return (0, 0) if state in _ENDED_BY_SLURM and ended == (0, 1) else ended


def jobs_of_squeue(text: str, *, only: str | None = None) -> list[JobInfo]:
    """The jobs that `squeue --noheader --Format JOB_FORMAT` lists; `only`: a job, or all tasks of an array.

    Raises ValueError.
    """
    lines = (line.split(SEPARATOR) for line in text.split(SEPARATOR + "\n") if line.strip())
    return [_job_of_fields(line) for line in lines if only is None or only in line[:2]]


def _job_of_fields(values: list[str]) -> JobInfo:
    if len(values) != len(JOB_FIELDS):
        raise ValueError(
            f"squeue printed {len(values)} fields where {len(JOB_FIELDS)} were asked: {values!r}"
        )
    field = dict(zip(JOB_FIELDS, values, strict=True))
    is_array_task = nothing(field["ArrayTaskID"]) is not None
    return JobInfo(
        job_id=int(field["JobID"]),
        array_job_id=int(field["ArrayJobID"]) if is_array_task else None,
        array_task_id=field["ArrayTaskID"] if is_array_task else None,
        name=field["Name"],
        state=state(field["State"]),
        reason=nothing(field["Reason"]),
        user=field["UserName"],
        partition=field["Partition"],
        restarts=int(field["RestartCnt"] or 0),
        submit_time=instant(field["SubmitTime"]),
        start_time=instant(field["StartTime"]),
        end_time=instant(field["EndTime"]),
        time_limit_s=duration(field["TimeLimit"]),
        nodes=count(field["NumNodes"]),
        node_list=nothing(field["NodeList"]),
        command=nothing(field["Command"]),
        workdir=nothing(field["WorkDir"]),
        stdout=nothing(field["STDOUT"]),
        comment=nothing(field["Comment"]),
    )


def jobs_of_scontrol(text: str) -> list[JobInfo]:
    """The jobs that `scontrol show job` prints.

    Raises ValueError.
    """
    return [_job_of_block(block) for block in _blocks(text, "JobId", _FREE_TEXT)]


def _job_of_block(block: Mapping[str, str]) -> JobInfo:
    job_state = state(block["JobState"])
    exit_status, signal = exit_code(block.get("ExitCode", "0:0"), job_state)
    is_array_task = "ArrayTaskId" in block
    requeue = block.get("Requeue")
    return JobInfo(
        job_id=int(block["JobId"]),
        array_job_id=int(block["ArrayJobId"]) if is_array_task else None,
        array_task_id=block["ArrayTaskId"] if is_array_task else None,
        name=block.get("JobName", ""),
        state=job_state,
        reason=nothing(block.get("Reason", "")),
        user=block.get("UserId", "").partition("(")[0],
        partition=block.get("Partition", ""),
        restarts=int(block.get("Restarts", "0")),
        requeue=None if requeue is None else requeue != "0",
        exit_status=exit_status,
        signal=signal,
        submit_time=instant(block.get("SubmitTime", "")),
        start_time=instant(block.get("StartTime", "")),
        end_time=instant(block.get("EndTime", "")),
        time_limit_s=duration(block.get("TimeLimit", "")),
        nodes=count(block.get("NumNodes", "")),
        node_list=nothing(block.get("NodeList", "")),
        command=nothing(block.get("Command", "")),
        workdir=nothing(block.get("WorkDir", "")),
        stdout=nothing(block.get("StdOut", "")),
        stderr=nothing(block.get("StdErr", "")),
        comment=nothing(block.get("Comment", "").strip()),
        dependency=nothing(block.get("Dependency", "")),
        told=block,
    )


def nodes_of_scontrol(text: str) -> list[NodeInfo]:
    """The nodes that `scontrol show node` prints.

    Raises ValueError.
    """
    return [_node_of_block(block) for block in _blocks(text, "NodeName", _FREE_TEXT_OF_NODE)]


def _node_of_block(block: Mapping[str, str]) -> NodeInfo:
    state, *flags = block["State"].split("+")
    if state.endswith("*"):
        flags.append("NOT_RESPONDING")
    return NodeInfo(
        name=block["NodeName"],
        state=state.rstrip("*~#!%$@^-"),
        flags=frozenset(flags),
        cpus=int(block.get("CPUEfctv") or block.get("CPUTot") or 0),
        memory_mib=int(block.get("RealMemory", "0")),
        gpus=gpus_of_gres(block.get("Gres", "")),
        features=_words(block.get("AvailableFeatures", "")),
        partitions=_words(block.get("Partitions", "")),
        reason=nothing(block.get("Reason", "")),
        hostname=block.get("NodeHostName"),
    )


def gpus_of_gres(text: str) -> int:
    """The number of GPUs in a node's Gres: `gpu:h100:8(S:0-1),nvme:1` is 8."""
    counts = re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", text)
    return sum(int(count) for count in counts)


def partitions_of_scontrol(text: str) -> list[PartitionInfo]:
    """The partitions that `scontrol show partition` prints.

    Raises ValueError.
    """
    return [_partition_of_block(block) for block in _blocks(text, "PartitionName", ())]


def _partition_of_block(block: Mapping[str, str]) -> PartitionInfo:
    return PartitionInfo(
        name=block["PartitionName"],
        is_default=block.get("Default") == "YES",
        state=block.get("State", "UP"),
        node_list=nothing(block.get("Nodes", "")) or "",
        total_nodes=count(block.get("TotalNodes", "")) or 0,
        min_nodes=count(block.get("MinNodes", "")) or 0,
        max_nodes=count(block.get("MaxNodes", "")),
        max_time_s=duration(block.get("MaxTime", "")),
        default_time_s=duration(block.get("DefaultTime", "")),
        max_cpus_per_node=count(block.get("MaxCPUsPerNode", "")),
    )


def groups_of_sinfo(text: str) -> list[NodeGroup]:
    """The nodes that `sinfo --noheader --format=GROUP_FORMAT` lists.

    Raises ValueError.
    """
    found = []
    for line in text.splitlines():
        if line.strip():
            count, state, node_list, reason = line.split("|", 3)
            found.append(NodeGroup(int(count), state, None if reason == "none" else reason, node_list))
    return found


def settings_of_scontrol(text: str, first_key: str) -> list[dict[str, str]]:
    """What `scontrol show` says of reservations and their like, by Slurm's own names."""
    return list(_blocks(text, first_key, ()))


def associations_of_sacctmgr(text: str) -> list[Association]:
    """What `sacctmgr --parsable2 show associations format=ASSOCIATION_FORMAT` prints.

    Raises ValueError.
    """
    found = []
    for line in text.splitlines():
        if line.strip():
            account, partition, qos, default = line.split("|")
            found.append(Association(account, nothing(partition), _words(qos), nothing(default)))
    return found


def config_of_scontrol(text: str) -> dict[str, str]:
    """The settings that `scontrol show config` prints, by name."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _blocks(text: str, first_key: str, free_text: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """One mapping per thing that `scontrol show` prints in its form of many lines."""
    for block in re.split(rf"^(?={first_key}=)", text, flags=re.MULTILINE)[1:]:
        yield dict(_pairs(block, free_text))


def _pairs(block: str, free_text: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    # A line that is not indented goes on with a value that holds a newline.
    for line in re.sub(r"\n(?!   |\n|$)", " ", block).splitlines():
        key, _, value = line.strip(" ").partition("=")
        if key in free_text:
            yield key, value
        else:
            yield from _pairs_of_line(line)


def _pairs_of_line(line: str) -> Iterator[tuple[str, str]]:
    # A job's name is the last of its line, and may hold anything, `word=` too.
    line, _, name = line.partition(" JobName=")
    for found in re.finditer(r"(\S+?)=(.*?)(?=\s+\S+?=|\s*$)", line):
        yield found[1], found[2]
    if name:
        yield "JobName", name


def state(text: str) -> str:
    """The base state: newer versions add flags, and sacct says by whom (`CANCELLED by 1000`)."""
    return re.split(r"[\s,+]", text.strip(), maxsplit=1)[0].upper()


def nothing(text: str) -> str | None:
    return None if text in _NOTHING else text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (nothing(text.strip()) or "").split(",") if word)


def count(text: str) -> int | None:
    """A number; of a range such as `3-3` its lower end."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else None


def duration(text: str) -> int | None:
    return parse_duration_s(text) if re.fullmatch(r"[\d:-]+", text) else None


def instant(text: str) -> float | None:
    """UTC seconds of what Slurm prints with TZ=UTC; None for no time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
