"""Each option of sbatch as a field: what it takes, what it refuses, and the #SBATCH line that it becomes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpcai.render.options import sbatch_options
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.gates import gate_breaches
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.slurm_fields import SlurmFields
from hpcai.specs.slurm_options import available, slurm_options
from tests.real_cluster import RealCluster

# Field -> a value as YAML, and what stands after the option's name.
EXAMPLES: dict[str, tuple[str, str]] = {
    "account": ("vision", "account=vision"),
    "acctg_freq": ("task=15", "acctg-freq=task=15"),
    "array": ("0-9:3%2", "array=0-9:3%2"),
    "batch": ("haswell", "batch=haswell"),
    "bb": ("capacity=1G", "bb=capacity=1G"),
    "begin": ("now+1hour", "begin=now+1hour"),
    "cluster_constraint": ("big", "cluster-constraint=big"),
    "comment": ("'it is # fine'", "comment=it is # fine"),
    "consolidate_segments": ("true", "consolidate-segments"),
    "constraint": ("'[rack1|rack2]'", "constraint=[rack1|rack2]"),
    "context": ("unconfined_u", "context=unconfined_u"),
    "contiguous": ("true", "contiguous"),
    "core_spec": ("0", "core-spec=0"),
    "cores_per_socket": ("2", "cores-per-socket=2"),
    "cpu_freq": ("high", "cpu-freq=high"),
    "cpus_per_gpu": ("4", "cpus-per-gpu=4"),
    "cpus_per_task": ("2", "cpus-per-task=2"),
    "deadline": ("'2040-01-01'", "deadline=2040-01-01"),
    "delay_boot_min": ("3", "delay-boot=3"),
    "dependency": ("singleton", "dependency=singleton"),
    "distribution": ("block:cyclic", "distribution=block:cyclic"),
    "exclude": ("'n[7-8]'", "exclude=n[7-8]"),
    "exclusive": ("true", "exclusive"),
    "extra": ("a=b", "extra=a=b"),
    "gpu_bind": ("closest", "gpu-bind=closest"),
    "gpu_freq": ("high", "gpu-freq=high"),
    "gpus": ("h100:2", "gpus=h100:2"),
    "gpus_per_node": ("2", "gpus-per-node=2"),
    "gpus_per_socket": ("1", "gpus-per-socket=1"),
    "gpus_per_task": ("1", "gpus-per-task=1"),
    "gres": ("gpu:1", "gres=gpu:1"),
    "gres_flags": ("enforce-binding", "gres-flags=enforce-binding"),
    "hint": ("nomultithread", "hint=nomultithread"),
    "hold": ("true", "hold"),
    "kill_on_invalid_dep": ("true", "kill-on-invalid-dep=yes"),
    "licenses": ("matlab:2", "licenses=matlab:2"),
    "mail_type": ("END,FAIL", "mail-type=END,FAIL"),
    "mail_user": ("ada@example.com", "mail-user=ada@example.com"),
    "mcs_label": ("secret", "mcs-label=secret"),
    "mem_bind": ("local", "mem-bind=local"),
    "mem_gib": ("0", "mem=0"),
    "mem_per_cpu_gib": ("1.5", "mem-per-cpu=1536M"),
    "mem_per_gpu_gib": ("2", "mem-per-gpu=2G"),
    "mem_update": ("'1'", "mem-update=1"),
    "mincpus": ("2", "mincpus=2"),
    "network": ("sn_single", "network=sn_single"),
    "nice": ("100", "nice=100"),
    "no_kill": ("false", "no-kill=off"),
    "nodelist": ("n1", "nodelist=n1"),
    "nodes": ("2", "nodes=2"),
    "ntasks": ("3", "ntasks=3"),
    "ntasks_per_core": ("1", "ntasks-per-core=1"),
    "ntasks_per_gpu": ("1", "ntasks-per-gpu=1"),
    "ntasks_per_node": ("2", "ntasks-per-node=2"),
    "ntasks_per_socket": ("1", "ntasks-per-socket=1"),
    "oom_kill_step": ("true", "oom-kill-step=1"),
    "overcommit": ("true", "overcommit"),
    "oversubscribe": ("true", "oversubscribe"),
    "partition": ("main", "partition=main"),
    "prefer": ("rack1", "prefer=rack1"),
    "propagate": ("NOFILE", "propagate=NOFILE"),
    "qos": ("high", "qos=high"),
    "requeue": ("false", "no-requeue"),
    "reservation": ("friday", "reservation=friday"),
    "resources": ("gpu", "resources=gpu"),
    "resv_ports": ("2", "resv-ports=2"),
    "segment": ("2", "segment=2"),
    "signal": ("B:USR1@60", "signal=B:USR1@60"),
    "sockets_per_node": ("1", "sockets-per-node=1"),
    "spread_job": ("true", "spread-job"),
    "spread_segments": ("true", "spread-segments"),
    "stepmgr": ("true", "stepmgr"),
    "switches": ("1@10", "switches=1@10"),
    "thread_spec": ("0", "thread-spec=0"),
    "threads_per_core": ("1", "threads-per-core=1"),
    "time_min": ("20", "time=20"),
    "time_min_min": ("10", "time-min=10"),
    "tmp_gib": ("10", "tmp=10G"),
    "tres_bind": ("gres/gpu:closest", "tres-bind=gres/gpu:closest"),
    "tres_per_task": ("cpu:1", "tres-per-task=cpu:1"),
    "use_min_nodes": ("true", "use-min-nodes"),
    "wait_all_nodes": ("false", "wait-all-nodes=0"),
    "wckey": ("k", "wckey=k"),
}
# What another key must say beside it.
BESIDE = {
    "mail_user": "mail_type: END\n",
    "kill_on_invalid_dep": "dependency: singleton\n",
    "ntasks_per_gpu": "gpus: 1\n",
}
HEAD = 'kind: job\nname: x\ncommand: "true"\n'


def job(field: str, value: str) -> JobSpec:
    spec = load_text(f"{HEAD}{BESIDE.get(field, '')}{field}: {value}\n", "job.yaml")
    assert isinstance(spec, JobSpec)
    return spec


def line(spec: JobSpec, option: str) -> list[str]:
    found = [(name, value) for name, value in sbatch_options(spec, None) if name in (option, f"no-{option}")]
    return [name if value is None else f"{name}={value}" for name, value in found]


def test_every_field_has_an_example() -> None:
    assert set(EXAMPLES) == set(SlurmFields.model_fields)


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_field_becomes_its_option(field: str) -> None:
    value, text = EXAMPLES[field]
    option = text.partition("=")[0].removeprefix("no-" if field == "requeue" else "")
    assert line(job(field, value), option) == [text]


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_field_that_is_left_out_becomes_nothing(field: str) -> None:
    option = next(
        row.option for row in slurm_options().values() if row.field == field and row.option != "no-requeue"
    )
    given = line(load_text(HEAD, "job.yaml"), option)  # type: ignore[arg-type]
    assert given == {"nodes": ["nodes=1"], "ntasks_per_node": ["ntasks-per-node=1"]}.get(field, [])


@pytest.mark.parametrize("field", EXAMPLES)
@pytest.mark.parametrize("value", ["[1]", "{a: b}", '"a\\nb"', '""'])
def test_a_field_refuses_what_no_option_can_be(field: str, value: str) -> None:
    with pytest.raises(SpecFileError):
        job(field, value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("components: [{}]\n", "components: holds one part; give two or more"),
        (
            "container: {image: nvcr.io#a/b:1, login: managed_identity}\n",
            "container.login: is for images of an Azure registry, NAME.azurecr.io, and image is 'nvcr.io",
        ),
        (
            "container: {image: me@a.azurecr.io#b, login: managed_identity}\n",
            "container.login: gets the image by itself: leave dockerd:// and USER@ out of image",
        ),
        (
            "container: {image: a.azurecr.io#b, login: me}\n",
            "container.login: got 'me'; managed_identity, or managed_identity/CLIENT-ID where a node has",
        ),
        (
            "array: 0-3\ncontainer: {image: a, save: x.sqsh}\n",
            "container.save: would be written by each of its tasks at once",
        ),
        (
            "components: [{}, {}]\ncontainer: {image: a, save: x.sqsh}\n",
            "container.save: would be written by each of its parts at once",
        ),
        ("array: 0-3\ncomponents: [{}, {}]\n", "array: goes with no components"),
        ("launcher: torchrun\ncomponents: [{}, {}]\n", "launcher: 'torchrun' needs the same tasks on every"),
        (
            "nodes: 2\ncomponents: [{}, {ntasks: 1}]\n",
            "components[1].ntasks: 1 is fewer than nodes: 2, and Slurm starts a task on each node",
        ),
        (
            "components: [{mem_gib: 1}, {}, {mem_gib: 2}]\n",
            "components[1]: has no mem_gib, and Slurm would give it that of components[0]; say which",
        ),
        (
            "outputs: [{name: m, to: 'azure://x/y'}]\n",
            "outputs[0].to: got 'azure://x/y'; nothing sends outputs",
        ),
        (
            "outputs: [{name: a-b}, {name: a_b}]\n",
            "outputs[1].name: 'a-b' and 'a_b' both become HPCAI_OUTPUT_A_B",
        ),
        ("env: {HPCAI_OUTPUT_X: y}\n", "env.HPCAI_OUTPUT_X: is set by the job script itself"),
        ("env: {UID: y}\n", "env.UID: cannot be set in bash"),
        ("env: {IFS: y}\n", "env.IFS: is read by bash itself"),
        ("env: {PATH: /my/bin}\n", "env.PATH: would hide Slurm's commands from the script; in setup: export"),
        (
            "env: {PYXIS_CONTAINER_IMAGE: y}\n",
            "env.PYXIS_CONTAINER_IMAGE: would put every step into that image",
        ),
        ("env: {SBATCH_EXPORT: NONE}\n", "env.SBATCH_EXPORT: is read by sbatch, before the script"),
        ("batch: gpu\nlauncher: torchrun\n", "batch: may run the script on another node than rank 0"),
        ("ntasks_per_gpu: 1\n", "ntasks_per_gpu: needs gpus, or ntasks"),
        (
            "ntasks_per_gpu: 1\ngpus_per_node: 1\nntasks: 1\n",
            "ntasks_per_gpu: ntasks_per_gpu and gpus_per_node exclude each other; give one",
        ),
        (
            "cpus_per_gpu: 1\ncpus_per_task: 1\n",
            "cpus_per_gpu: cpus_per_gpu and cpus_per_task exclude each other; give one",
        ),
        (
            "ntasks_per_gpu: 1\ngpus: 2\nlauncher: horovod\n",
            "ntasks_per_gpu: lets Slurm count the tasks, and launcher: horovod needs ntasks_per_node",
        ),
        (
            "launcher: torchrun\ntres_per_task: gres/gpu:1\n",
            "tres_per_task: counts Slurm's tasks, of which launcher: torchrun has one on each node",
        ),
        (
            "launcher: horovod\ngpus: 3\nnodes: 2\n",
            "gpus: 3 are not the same number on each of 2 nodes, as launcher: horovod needs",
        ),
        ("teardown: [' ']\n", "teardown[0]: got ' '; a shell command"),
        ("parameter_servers: 1\n", "parameter_servers: is only read with launcher: tensorflow"),
        ("launcher: tensorflow\nenv: {TF_CONFIG: x}\n", "env.TF_CONFIG: is set by launcher: tensorflow"),
        ("launcher: tensorflow\ndistribution: cyclic\n", "distribution: got 'cyclic'; TF_CONFIG names"),
        ("nodes: 3\nntasks: 2\n", "ntasks: 2 is fewer than nodes: 3, and Slurm starts a task on each node"),
        (
            "nodes: 2\nntasks: 3\nntasks_per_node: 2\n",
            "ntasks: 3 is not 2 nodes times 2 tasks; give one of the two",
        ),
        (
            "mem_gib: 1\nmem_per_cpu_gib: 1\n",
            "mem_gib: mem_gib and mem_per_cpu_gib exclude each other; give one",
        ),
        (
            "exclusive: true\noversubscribe: true\n",
            "exclusive: exclusive and oversubscribe exclude each other",
        ),
        ("core_spec: 1\nthread_spec: 1\n", "core_spec: core_spec and thread_spec exclude each other"),
        ("time_min: 5\ntime_min_min: 6\n", "time_min_min: 6 is more than time_min: 5, which it may shorten"),
        ("nodelist: n1\nexclude: n1\n", "exclude: names n1, which nodelist asks for"),
        ("kill_on_invalid_dep: true\n", "kill_on_invalid_dep: says nothing without dependency"),
        (
            "signal: USR1\ntime_min: 1\n",
            "signal: comes 60 s before the end, which with time_min: 1 is at once",
        ),
        ("signal: USR1@65536\n", "signal: got 'USR1@65536'; Slurm takes at most 65535 seconds"),
        (
            "time_min: 4\ntime_min_min: 5\n",
            "time_min_min: 5 is more than time_min: 4, which it may shorten",
        ),
        ("overcommit: false\n", "overcommit: got False; true, or leave the key out: "),
        ("array: 5-2\n", "array: got '5-2'; task ids such as '0-9', '1,3,5' or '0-99:2%4'"),
        ("gpus: two\n", "gpus: got 'two'; a number of GPUs, or TYPE:NUMBER"),
        (
            "hint: fast\n",
            "hint: got 'fast'; 'compute_bound' or 'memory_bound' or 'multithread'",
        ),
        (
            "nodes: 2\nntasks: 3\nlauncher: torchrun\n",
            "ntasks: 3 tasks are not the same number on each of 2 nodes, as launcher: torchrun needs",
        ),
    ],
)
def test_what_is_refused_is_said_in_a_persons_words(text: str, told: str) -> None:
    with pytest.raises(SpecFileError) as raised:
        load_text(HEAD + text, "job.yaml")
    assert told in str(raised.value)


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_release_without_the_option_is_told_the_release_that_has_it(field: str) -> None:
    spec = job(field, EXAMPLES[field][0])
    for row in slurm_options().values():
        if row.field == field and row.since is not None:
            early = [breach.what for breach in gate_breaches(spec, (20, 11)) if breach.key == field]
            assert early == [
                f"Slurm 20.11 has no --{row.option}: it came with Slurm {row.since[0]}.{row.since[1]:02d}."
            ]
    assert list(gate_breaches(spec, (26, 5))) == []


def test_expedite_is_a_word_of_its_own_release() -> None:
    assert [one.key for one in gate_breaches(job("requeue", "expedite"), (25, 5))] == ["requeue"]
    assert list(gate_breaches(job("requeue", "true"), (20, 11))) == []


@pytest.mark.real
def test_this_machines_sbatch_knows_every_line(cluster: RealCluster, tmp_path: Path) -> None:
    """Whether it can be fulfilled here is another matter; that the line cannot be read is none."""
    version = SlurmClient(cluster.environ).version()
    unread: dict[str, Any] = {}
    for field, (value, text) in EXAMPLES.items():
        option = text.partition("=")[0]
        if not available(option, version):
            continue
        spec = job(field, value)
        words = [
            f"--{name}" + ("" if one is None else f"={one}") for name, one in sbatch_options(spec, tmp_path)
        ]
        done = subprocess.run(
            ["sbatch", "--test-only", *words, "--wrap=true"],
            env={**cluster.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if any(
            sign in done.stderr.lower()
            for sign in ("unrecognized", "invalid option", "usage:", "bad value", "mutually exclusive")
        ):
            unread[field] = done.stderr
    assert unread == {}


@pytest.mark.parametrize(
    "fields",
    [
        "time_min: 5\ntime_min_min: 5\n",
        "gres: 'gpu_mem:2,license:1'\ngpus_per_node: 1\n",
        "signal: USR1@59\ntime_min: 1\n",
        "signal: R:SIGINT\n",
        'signal: "31"\n',
        "signal: XCPU@65535\n",
    ],
)
def test_what_is_just_right(fields: str) -> None:
    load_text(HEAD + fields, "job.yaml")
