"""The configuration files: what each trap of a cluster on one machine asks for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcai.slurm.local import conf
from hpcai.slurm.local.conf import Layout, Shape

SHAPE = Shape(nodes=3, cpus_per_node=16, gpus_per_node=8, memory_mib_per_node=64000, blob=False)
LAYOUT = Layout(
    home=Path("/c/local/x"),
    user="me",
    controller_port=26800,
    node_ports=(26801, 26802, 26803),
)


def settings() -> dict[str, str]:
    """The one-value lines of slurm.conf."""
    lines = [line for line in conf.slurm_conf(SHAPE, LAYOUT).splitlines() if " " not in line]
    pairs = [line.split("=", 1) for line in lines]
    assert len({key for key, _ in pairs}) == len(pairs)
    return {line[0]: line[1] for line in pairs}


def test_nodes_differ_in_port_and_in_every_folder() -> None:
    text = conf.slurm_conf(SHAPE, LAYOUT)
    assert "NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=26802" in text
    for key in ("TmpFS", "SlurmdSpoolDir", "SlurmdPidFile", "SlurmdLogFile"):
        assert "%n" in settings()[key]


def test_a_requeued_job_does_not_wait_two_minutes() -> None:
    assert settings()["AuthInfo"] == "socket=/c/local/x/run/munge.sock,cred_expire=5"


def test_silence_of_a_node_is_seen_soon_and_its_jobs_go_back_to_the_queue() -> None:
    assert (settings()["SlurmdTimeout"], settings()["JobRequeue"], settings()["ReturnToService"]) == (
        "5",
        "1",
        "2",
    )


def test_srun_waits_for_a_lost_node_until_its_silence_is_noticed() -> None:
    """A step that PMIx ends at once would else end its job as failed, before Slurm puts it into the queue."""
    seconds = {key: int(settings()[key]) for key in ("KillWait", "SlurmdTimeout", "MessageTimeout")}
    assert seconds["KillWait"] > seconds["SlurmdTimeout"] + 2 * seconds["MessageTimeout"]


def test_partitions() -> None:
    lines = conf.slurm_conf(SHAPE, LAYOUT).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("PartitionName=")] == [
        "PartitionName=DEFAULT",
        "PartitionName=main",
        "PartitionName=urgent",
    ]


def test_each_pretended_gpu_has_a_device_file() -> None:
    assert conf.gres_conf(SHAPE, LAYOUT) == "NodeName=n[1-3] Name=gpu File=/c/local/x/dev/nvidia[0-7]\n"
    assert "Gres=gpu:8" in conf.slurm_conf(SHAPE, LAYOUT)


def test_without_gpus_none_are_named() -> None:
    shape = Shape(nodes=1, cpus_per_node=1, gpus_per_node=0, memory_mib_per_node=1, blob=False)
    layout = Layout(Path("/c"), "me", 1, (2,))
    assert conf.gres_conf(shape, layout) == ""
    assert "Gres=" not in conf.slurm_conf(shape, layout).replace("GresTypes=", "")


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("21.08.5", "CgroupAutomount=no\n"),
        ("22.05.8", "CgroupPlugin=cgroup/v1\n"),
        ("23.11.4", "CgroupPlugin=cgroup/v1\n"),
        ("24.11.5", "CgroupPlugin=disabled\n"),
        ("26.05.5", "CgroupPlugin=disabled\n"),
    ],
)
def test_control_groups_are_off_in_the_words_of_each_version(version: str, text: str) -> None:
    assert conf.cgroup_conf(version) == text


@pytest.mark.programs
def test_tasks_meet_over_loopback_unless_the_job_says_otherwise() -> None:
    # The second is what the job's own script was given on the first node.
    environ = {
        "SLURMD_NODENAME": "n2",
        "GLOO_SOCKET_IFNAME": "eth1",
        "OMPI_MCA_btl_sm_backing_directory": "/c/local/x/tmp/n1",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", conf.task_prolog(LAYOUT)], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "export OMPI_MCA_btl_vader_backing_directory=/c/local/x/tmp/n2",
        "export OMPI_MCA_btl_sm_backing_directory=/c/local/x/tmp/n2",
        "export OMPI_MCA_btl_tcp_if_include=lo",
        "export HOROVOD_GLOO_IFACE=lo",
    ]
