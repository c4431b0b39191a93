"""What recorded output of Slurm 22.05, 24.11 and 26.05 becomes, and what odd output is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.slurm import parse
from hpcai.slurm.answers import Association, JobInfo, is_final
from hpcai.slurm.parse import JOB_FIELDS, SEPARATOR

CASES = Path(__file__).parent.parent / "cases" / "slurm"


def recorded(name: str) -> str:
    return (CASES / name).read_text()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (recorded("22.05-srun-mpi-list.txt"), {"none", "cray_shasta", "pmi2", "pmix", "pmix_v4"}),
        # As the manuals of sites show them: Slurm with two PMIx, without any, and before 22.05.
        (
            "MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: "
            "pmix_v5,pmix_v4\n",
            {"none", "pmi2", "pmix", "pmix_v4", "pmix_v5"},
        ),
        ("MPI plugin types are...\n\tnone\n\tcray_shasta\n\tpmi2\n", {"none", "cray_shasta", "pmi2"}),
        (
            "srun: MPI types are...\nsrun: none\nsrun: openmpi\nsrun: pmi2\nsrun: pmix\nsrun: pmix_v3\n",
            {"none", "openmpi", "pmi2", "pmix", "pmix_v3"},
        ),
        (
            "srun: MPI types are...\nsrun: cray_shasta\nsrun: none\nsrun: pmi2\n",
            {"none", "cray_shasta", "pmi2"},
        ),
        ("srun: MPI types are...\nsrun: mpi/none\nsrun: mpi/openmpi\n", {"none", "openmpi"}),
    ],
)
def test_the_mpi_plugins_of_several_releases(text: str, names: set[str]) -> None:
    assert parse.mpi_plugins(text) == names


@pytest.mark.parametrize("text", ["", "srun: error: no such plugin\n", "MPI plugin types are...\n"])
def test_a_list_without_an_mpi_plugin_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="names no MPI plugin"):
        parse.mpi_plugins(text)


@pytest.fixture(scope="module")
def shown() -> dict[str, JobInfo]:
    return {job.ident: job for job in parse.jobs_of_scontrol(recorded("22.05-scontrol-show-job.txt"))}


@pytest.fixture(scope="module")
def listed() -> dict[str, JobInfo]:
    return {job.ident: job for job in parse.jobs_of_squeue(recorded("22.05-squeue.txt"))}


def test_a_job_whose_name_and_comment_look_like_fields(shown: dict[str, JobInfo]) -> None:
    job = shown["2"]
    assert job.name == 'my job Foo=bar | "q"'
    assert job.comment == "hp ai=1 Reason=x"
    assert job.reason is None
    assert job.command == "/shared/ada/w d/it's/a.sh"
    assert job.stdout == "/shared/ada/w d/it's/slurm-2.out"
    assert (job.state, job.is_final, job.exit_status, job.signal) == ("COMPLETED", True, 0, 0)
    assert (job.nodes, job.node_list, job.restarts, job.requeue) == (2, "n[1-2]", 0, True)
    assert job.time_limit_s is None
    assert job.end_time is not None and job.start_time is not None
    assert job.end_time - job.start_time == job.elapsed_s(now=1e12) == 30


@pytest.mark.parametrize("release", ["24.11", "26.05"])
def test_newer_releases_say_the_same_in_their_form(release: str) -> None:
    shown = {job.ident: job for job in parse.jobs_of_scontrol(recorded(f"{release}-scontrol-show-job.txt"))}
    listed = {job.ident: job for job in parse.jobs_of_squeue(recorded(f"{release}-squeue.txt"))}
    odd = shown["1"]
    assert (odd.name, odd.comment) == ('my job Foo=bar | "q"', "hp ai=1 Reason=x JobState=ODD")
    assert (odd.state, odd.reason, odd.nodes, odd.node_list) == ("COMPLETED", None, 2, "n[1-2]")
    assert (odd.workdir, odd.stdout) == ("/shared/ada/w d/it's", "/shared/ada/w d/it's/slurm-1.out")
    ends = {ident: (job.state, job.exit_status, job.signal) for ident, job in shown.items()}
    assert (ends["2"], ends["3"], ends["5"]) == (("FAILED", 7, 0), ("FAILED", 0, 9), ("CANCELLED", 0, 15))
    assert (shown["6"].state, shown["6"].reason) == ("PENDING", "DependencyNeverSatisfied")
    assert shown.keys() == listed.keys() == {"1", "2", "3", "4_0", "4_1", "4_2", "5", "6"}
    for ident in shown:
        for field in ("job_id", "name", "state", "nodes", "user", "partition", "workdir", "submit_time"):
            assert getattr(shown[ident], field) == getattr(listed[ident], field), (ident, field)


@pytest.mark.parametrize("release", ["24.11", "26.05"])
def test_nodes_and_partitions_of_newer_releases(release: str) -> None:
    nodes = parse.nodes_of_scontrol(recorded(f"{release}-scontrol-show-node.txt"))
    assert {(node.state, node.cpus, node.memory_mib, node.gpus) for node in nodes} == {("IDLE", 4, 16000, 4)}
    main, urgent = parse.partitions_of_scontrol(recorded(f"{release}-scontrol-show-partition.txt"))
    assert (main.name, main.is_default, main.node_names, main.max_nodes) == ("main", True, ["n1", "n2"], None)
    assert (urgent.name, urgent.is_default, urgent.max_time_s) == ("urgent", False, None)


def test_how_jobs_ended(shown: dict[str, JobInfo]) -> None:
    assert (shown["4"].state, shown["4"].exit_status, shown["4"].signal) == ("FAILED", 7, 0)
    assert (shown["5"].state, shown["5"].exit_status, shown["5"].signal) == ("FAILED", 0, 9)
    assert (shown["3"].state, shown["3"].reason) == ("CANCELLED", "PartitionNodeLimit")
    assert shown["4"].restarts == 1


def test_tasks_of_an_array(shown: dict[str, JobInfo], listed: dict[str, JobInfo]) -> None:
    names = {f"6_{task}" for task in range(6)}
    assert names <= set(shown) and names <= set(listed)
    assert {shown[name].job_id for name in names} == {listed[name].job_id for name in names}
    assert listed["6_4"].job_id == 22


def test_tasks_that_wait_are_told_as_slurm_takes_them() -> None:
    waiting = [
        JobInfo(6, "x", "PENDING", array_job_id=6, array_task_id=tasks) for tasks in ("1-4%2", "4%2", "4")
    ]
    assert [job.ident for job in waiting] == ["6_[1-4]", "6_[4]", "6_4"]


def test_squeue_and_scontrol_say_the_same(shown: dict[str, JobInfo], listed: dict[str, JobInfo]) -> None:
    both = [ident for ident in shown if ident in listed]
    assert len(both) == 10
    for ident in both:
        for field in (
            "name",
            "state",
            "reason",
            "user",
            "partition",
            "nodes",
            "command",
            "workdir",
            "comment",
        ):
            assert getattr(shown[ident], field) == getattr(listed[ident], field), (ident, field)
        assert shown[ident].submit_time == listed[ident].submit_time


def test_a_pending_job_has_no_start(listed: dict[str, JobInfo]) -> None:
    job = listed["8"]
    assert (job.state, job.reason, job.start_time) == ("PENDING", "PartitionTimeLimit", None)
    assert job.time_limit_s == 6000
    assert job.elapsed_s(now=1e12) == 0


def test_nodes() -> None:
    nodes = parse.nodes_of_scontrol(recorded("22.05-scontrol-show-node.txt"))
    assert [node.name for node in nodes] == ["n1", "n2"]
    assert {(node.state, node.cpus, node.memory_mib, node.gpus) for node in nodes} == {("IDLE", 4, 16000, 4)}
    assert nodes[0].partitions == ("main", "short")


@pytest.mark.parametrize(
    ("text", "state", "flags", "is_down"),
    [
        ("IDLE", "IDLE", set(), False),
        ("DOWN*", "DOWN", {"NOT_RESPONDING"}, True),
        ("IDLE*+DRAIN", "IDLE", {"DRAIN", "NOT_RESPONDING"}, True),
        ("IDLE+CLOUD+POWERED_DOWN", "IDLE", {"CLOUD", "POWERED_DOWN"}, False),
        ("MIXED+DRAIN", "MIXED", {"DRAIN"}, False),
    ],
)
def test_state_of_a_node(text: str, state: str, flags: set[str], is_down: bool) -> None:
    [node] = parse.nodes_of_scontrol(
        f"NodeName=n1 Arch=x86_64\n   State={text} ThreadsPerCore=1\n"
        "   Reason=Not responding x=1 [slurm@2026-11-20T11:28:55]\n\n"
    )
    assert (node.state, node.flags, node.is_down) == (state, flags, is_down)
    assert node.reason == "Not responding x=1 [slurm@2026-11-20T11:28:55]"


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:h100:8(S:0-1),nvme:1", 8),
        ("gpu:4", 4),
        ("gpu:a100:2,gpu:t4:1", 3),
        ("(null)", 0),
        ("mps:400", 0),
    ],
)
def test_gpus_of_gres(gres: str, gpus: int) -> None:
    assert parse.gpus_of_gres(gres) == gpus


def test_partitions() -> None:
    main, short = parse.partitions_of_scontrol(recorded("22.05-scontrol-show-partition.txt"))
    assert (main.name, main.is_default, main.total_nodes, main.max_nodes, main.max_time_s) == (
        "main",
        True,
        2,
        None,
        None,
    )
    assert (short.name, short.is_default, short.max_nodes, short.max_time_s) == ("short", False, 1, 1800)
    assert short.node_names == ["n1", "n2"]


@pytest.mark.parametrize("text", ["12\n", "12;cluster\n", "some site's greeting\n12;hpc\n"])
def test_job_id_of_sbatch(text: str) -> None:
    assert parse.job_id_of_sbatch(text) == 12


@pytest.mark.parametrize("text", ["", "Submitted batch job 12", "sbatch: 12 jobs"])
def test_no_job_id(text: str) -> None:
    with pytest.raises(ValueError, match="holds no job id"):
        parse.job_id_of_sbatch(text)


@pytest.mark.parametrize(
    "using",
    ["using", "a using", "on cluster other a using"],
    ids=["until 25.05", "from 25.05", "another cluster"],
)
def test_expected_start(using: str) -> None:
    found = parse.expected_start(
        f"sbatch: Job 11 to start at 2026-11-20T12:19:26 {using} 1 processors "
        "on nodes n[1-2] in partition short"
    )
    assert (found.node_list, found.partition) == ("n[1-2]", "short")
    assert found.start_time == 1795177166.0
    with pytest.raises(ValueError, match="no expected start"):
        parse.expected_start("allocation failure: Requested node configuration is not available")


def test_exit_code() -> None:
    assert parse.exit_code("0:15", "CANCELLED") == (0, 15)
    assert parse.exit_code("137:0", "FAILED") == (137, 0)


def test_states() -> None:
    assert all(map(is_final, ("COMPLETED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")))
    assert not any(map(is_final, ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")))


@pytest.mark.parametrize(
    ("state", "code", "signal"),
    [("NODE_FAIL", "0:1", 0), ("TIMEOUT", "0:1", 0), ("TIMEOUT", "0:15", 15), ("FAILED", "0:1", 1)],
)
def test_what_slurm_fills_in_for_a_status_is_no_signal(state: str, code: str, signal: int) -> None:
    """Slurm 24.11 of a job whose node died: `JobState=NODE_FAIL Reason=NodeDown`, `ExitCode=0:1`."""
    text = f"JobId=1 JobName=nf\n   JobState={state} Reason=NodeDown\n   Requeue=0 ExitCode={code}\n"
    [job] = parse.jobs_of_scontrol(text)
    assert (job.exit_status, job.signal) == (0, signal)


@pytest.mark.parametrize("text", ["CANCELLED by 1000", "CANCELLED,COMPLETING", "CANCELLED+"])
def test_the_base_state_counts(text: str) -> None:
    [job] = parse.jobs_of_scontrol(f"JobId=1 JobName=x\n   JobState={text} Reason=None\n")
    assert job.state == "CANCELLED"


def test_config() -> None:
    text = "Configuration data as of 2026\nMaxArraySize            = 1001\nPlugStack = a=b\n"
    assert parse.config_of_scontrol(text) == {"MaxArraySize": "1001", "PlugStack": "a=b"}


def test_a_comment_of_two_lines() -> None:
    [first, second] = parse.jobs_of_scontrol(
        "JobId=1 JobName=x\n   JobState=RUNNING Reason=None\n   Comment=one\ntwo JobId=3\n   StdOut=/a\n\n"
        "JobId=2 JobName=y\n   JobState=PENDING Reason=Priority\n"
    )
    assert (first.comment, first.stdout) == ("one two JobId=3", "/a")
    assert (second.job_id, second.reason) == (2, "Priority")


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


@given(name=NAMES, comment=NAMES)
def test_any_name_comes_back_from_squeue(name: str, comment: str) -> None:
    values = dict.fromkeys(JOB_FIELDS, "") | {
        "JobID": "7",
        "State": "RUNNING",
        "RestartCnt": "0",
        "Name": name,
        "Comment": comment,
    }
    line = "".join(values[field] + SEPARATOR for field in JOB_FIELDS) + "\n"
    jobs = parse.jobs_of_squeue(line * 2)
    assert [job.name for job in jobs] == [name, name]
    assert comment in parse._NOTHING or jobs[0].comment == comment


def test_another_number_of_fields_is_an_error() -> None:
    with pytest.raises(ValueError, match="fields"):
        parse.jobs_of_squeue(f"1{SEPARATOR}2{SEPARATOR}\n")


def test_the_expected_start_of_a_heterogeneous_job_names_no_partition() -> None:
    told = "sbatch: Job 10 to start at 2026-11-21T16:19:43 using 4 processors on n[1-2]"
    assert parse.expected_start(told).node_list == "n[1-2]"
    assert parse.expected_start(told).partition == ""


def test_associations_of_sacctmgr() -> None:
    text = "vision||high,normal|normal\ntext|gpu||\n"
    assert parse.associations_of_sacctmgr(text) == [
        Association("vision", None, ("high", "normal"), "normal"),
        Association("text", "gpu", (), None),
    ]
    with pytest.raises(ValueError, match="unpack"):
        parse.associations_of_sacctmgr("a|b\n")
