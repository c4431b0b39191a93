"""Every option of sbatch that concerns a job, as a field of its own; `slurm_options.csv` says of each more.

`None` leaves the option out.  A value that only Slurm's configuration can judge is one line of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator

from hpcai import units
from hpcai.errors import nearest
from hpcai.specs.fields import Model, matches, wrong
from hpcai.specs.mistakes import Contradiction


def _hostlist(text: str) -> str:
    try:
        hosts = units.parse_hostlist(text)
    except ValueError as error:
        raise wrong(str(error)) from error
    if not hosts:
        raise wrong(f"got {text!r}; name at least one node, or leave the key out")
    return text


def _choice(*allowed: bool | str) -> PlainValidator:
    """One of these and nothing that is only like them; a union would answer once for each of its parts."""
    words = [str(one).lower() if isinstance(one, bool) else repr(one) for one in allowed]
    if allowed == (True,):
        # A key without effect would be a promise.
        words = ["true, or leave the key out: Slurm has no option for the contrary"]

    def check(value: object) -> object:
        if not any(value is one if isinstance(one, bool) else value == one for one in allowed):
            raise wrong(f"got {value!r}; {' or '.join(words)}")
        return value

    return PlainValidator(check, json_schema_input_type=Literal[allowed])


def _gpus(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or re.fullmatch(r"([A-Za-z][\w.-]*:)?[1-9]\d{0,5}", text) is None:
        raise wrong(f"got {value!r}; a number of GPUs, or TYPE:NUMBER")
    return text


def _array(text: str) -> str:
    try:
        units.parse_array(text)
    except ValueError as error:
        raise wrong(str(error)) from error
    return text


# Those that Slurm knows by name.
SIGNALS = (
    *("HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "USR2", "ALRM", "TERM", "CONT", "STOP", "TSTP", "TTIN"),
    *("TTOU", "URG", "XCPU"),
)
SIGNAL = re.compile(r"(?:(?P<to>R|B|RB):)?(?:SIG)?(?P<name>[A-Z0-9]+)(?:@(?P<seconds>[0-9]{1,5}))?")


def _signal(text: str) -> str:
    found = SIGNAL.fullmatch(text)
    name = found["name"] if found else ""
    if found is None or not (name in SIGNALS or (name.isdecimal() and 1 <= int(name) <= 31)):
        near = nearest(name, SIGNALS)
        raise wrong(
            f"got {text!r}; [B:]SIGNAL[@SECONDS], e.g. 'USR1@60', of {', '.join(SIGNALS)}, or 1 to 31"
            + (f"; did you mean {near!r}?" if near else "")
        )
    if int(found["seconds"] or 0) > 65_535:
        raise wrong(f"got {text!r}; Slurm takes at most 65535 seconds")
    return text


OneLine = Annotated[str, matches(r"[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*", "text in one line")]
HostList = Annotated[str, AfterValidator(_hostlist)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Flag = Annotated[bool, _choice(True)]
Gib = Annotated[float, Field(ge=0, le=10_000_000)]
# Of a node 0 is all that there is. For each CPU Slurm reads 0 as that too, and for each GPU as its default.
GibEach = Annotated[float, Field(gt=0, le=10_000_000)]
# Slurm keeps it in 15 bits: a higher core_spec becomes a thread_spec.
Spared = Annotated[int, Field(ge=0, le=32_767)]
Array = Annotated[str, AfterValidator(_array)]
Gpus = Annotated[str, PlainValidator(_gpus, json_schema_input_type=int | str)]
Exclusive = Annotated[bool | str, _choice(True, "user", "mcs", "topo")]
Requeue = Annotated[bool | str, _choice(True, False, "expedite")]
Signal = Annotated[str, AfterValidator(_signal)]


class ComponentFields(Model):
    """What each part of a heterogeneous job may have of its own."""

    nodes: Count = 1
    ntasks: Count | None = None
    ntasks_per_node: Count | None = None
    ntasks_per_socket: Count | None = None
    ntasks_per_core: Count | None = None
    ntasks_per_gpu: Count | None = None
    cpus_per_task: Count | None = None
    cpus_per_gpu: Count | None = None
    mincpus: Count | None = None
    gpus: Gpus | None = None
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] | None = None
    gpus_per_socket: Gpus | None = None
    gpus_per_task: Gpus | None = None
    gres: OneLine | None = None
    gres_flags: OneLine | None = None
    gpu_bind: OneLine | None = None
    gpu_freq: OneLine | None = None
    tres_per_task: OneLine | None = None
    tres_bind: OneLine | None = None
    resources: OneLine | None = None
    mem_gib: Gib | None = None
    mem_per_cpu_gib: GibEach | None = None
    mem_per_gpu_gib: GibEach | None = None
    mem_bind: OneLine | None = None
    tmp_gib: Gib | None = None
    bb: OneLine | None = None
    licenses: OneLine | None = None

    account: OneLine | None = None
    partition: OneLine | None = None
    qos: OneLine | None = None
    reservation: OneLine | None = None
    constraint: OneLine | None = None
    prefer: OneLine | None = None
    nodelist: HostList | None = None
    exclude: HostList | None = None
    exclusive: Exclusive | None = None
    oversubscribe: Flag | None = None
    overcommit: Flag | None = None
    contiguous: Flag | None = None
    spread_job: Flag | None = None
    use_min_nodes: Flag | None = None
    switches: OneLine | None = None
    segment: Count | None = None
    spread_segments: Flag | None = None
    consolidate_segments: Flag | None = None
    distribution: OneLine | None = None
    hint: Literal["compute_bound", "memory_bound", "multithread", "nomultithread"] | None = None
    sockets_per_node: Count | None = None
    cores_per_socket: Count | None = None
    threads_per_core: Count | None = None
    core_spec: Spared | None = None
    thread_spec: Spared | None = None
    cpu_freq: OneLine | None = None
    network: OneLine | None = None
    resv_ports: Count | None = None

    time_min: Count | None = None
    time_min_min: Count | None = None
    """The least that Slurm may shorten the time limit to, in minutes: its option is --time-min."""


class SlurmFields(ComponentFields):
    """The same, and what a job as a whole may have."""

    array: Array | None = None
    begin: OneLine | None = None
    deadline: OneLine | None = None
    delay_boot_min: Count | None = None
    hold: Flag | None = None
    nice: Annotated[int, Field(ge=-2_147_483_645, le=2_147_483_645)] | None = None
    dependency: OneLine | None = None
    kill_on_invalid_dep: bool | None = None
    requeue: Requeue | None = None
    no_kill: bool | None = None
    oom_kill_step: bool | None = None
    wait_all_nodes: bool | None = None
    signal: Signal | None = None
    batch: OneLine | None = None
    cluster_constraint: OneLine | None = None
    comment: OneLine | None = None
    extra: OneLine | None = None
    mcs_label: OneLine | None = None
    context: OneLine | None = None
    wckey: OneLine | None = None
    mail_type: OneLine | None = None
    mail_user: OneLine | None = None
    propagate: OneLine | None = None
    acctg_freq: OneLine | None = None
    mem_update: OneLine | None = None
    stepmgr: Flag | None = None


_GPUS = ("gpus", "gpus_per_node", "gpus_per_socket", "gpus_per_task")
_MEMORY = ("mem_gib", "mem_per_cpu_gib", "mem_per_gpu_gib")


def _per_gpu_contradictions(part: ComponentFields) -> Iterator[Contradiction]:
    """What Slurm's own commands refuse together, in their words mutually exclusive."""
    excluded = {
        "ntasks_per_gpu": ("ntasks_per_node", "gpus_per_node", "gpus_per_task", "gpus_per_socket"),
        "cpus_per_gpu": ("cpus_per_task",),
    }
    for key, others in excluded.items():
        for other in others:
            if getattr(part, key) is not None and getattr(part, other) is not None:
                yield Contradiction((key, other), f"{key} and {other} exclude each other; give one")
    counted = [key for key in _GPUS if getattr(part, key) is not None]
    if counted and part.gres is not None and re.search(r"(^|[,/])\s*gpu(?![\w.-])", part.gres, re.IGNORECASE):
        # Slurm takes such a job, adds the two up, and can start no step in it.
        yield Contradiction(
            ("gres", counted[0]), f"asks for GPUs, and so does {counted[0]}; give one of the two"
        )
    if part.ntasks_per_gpu is not None and part.ntasks is None and part.gpus is None:
        yield Contradiction(("ntasks_per_gpu",), "needs gpus, or ntasks")


def component_contradictions(part: ComponentFields) -> Iterator[Contradiction]:
    """What in one part of a job cannot be meant together."""
    per_node = part.ntasks_per_node
    if part.ntasks is not None and per_node is not None and part.ntasks != part.nodes * per_node:
        yield Contradiction(
            ("ntasks", "ntasks_per_node", "nodes"),
            f"{part.ntasks} is not {part.nodes} nodes times {per_node} tasks; give one of the two",
        )
    if part.ntasks is not None and part.ntasks < part.nodes:
        yield Contradiction(
            ("ntasks", "nodes"),
            f"{part.ntasks} is fewer than nodes: {part.nodes}, and Slurm starts a task on each node",
        )
    yield from _per_gpu_contradictions(part)
    memory = [key for key in _MEMORY if getattr(part, key) is not None]
    if len(memory) > 1:
        yield Contradiction(tuple(memory), f"{' and '.join(memory)} exclude each other; give one")
    if part.exclusive is not None and part.oversubscribe is not None:
        yield Contradiction(("exclusive", "oversubscribe"), "exclusive and oversubscribe exclude each other")
    if part.core_spec is not None and part.thread_spec is not None:
        yield Contradiction(("core_spec", "thread_spec"), "core_spec and thread_spec exclude each other")
    if part.time_min_min is not None and part.time_min is not None and part.time_min_min > part.time_min:
        yield Contradiction(
            ("time_min_min", "time_min"),
            f"{part.time_min_min} is more than time_min: {part.time_min}, which it may shorten",
        )
    if part.nodelist is not None and len(set(units.parse_hostlist(part.nodelist))) > part.nodes:
        yield Contradiction(
            ("nodelist", "nodes"), f"{part.nodelist!r} names more nodes than nodes: {part.nodes} asks for"
        )
    if part.nodelist is not None and part.exclude is not None:
        both = set(units.parse_hostlist(part.nodelist)) & set(units.parse_hostlist(part.exclude))
        if both:
            yield Contradiction(("exclude", "nodelist"), f"names {sorted(both)[0]}, which nodelist asks for")


def job_contradictions(job: SlurmFields) -> Iterator[Contradiction]:
    """What in the options of a job as a whole cannot be meant together."""
    before_s = int(SIGNAL.fullmatch(job.signal)["seconds"] or 60) if job.signal else 0  # type: ignore[index]
    if job.time_min is not None and before_s >= job.time_min * 60:
        what = f"comes {before_s} s before the end, which with time_min: {job.time_min} is at once"
        yield Contradiction(("signal", "time_min"), what)
    if job.mail_user is not None and job.mail_type is None:
        yield Contradiction(("mail_user", "mail_type"), "needs mail_type, e.g. mail_type: END,FAIL")
    if job.kill_on_invalid_dep is not None and job.dependency is None:
        yield Contradiction(("kill_on_invalid_dep", "dependency"), "says nothing without dependency")
