"""The embedded cluster at work: each trap of running a whole cluster on one machine is got round."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import cluster as embedded
from hpcai.slurm.local import record
from hpcai.slurm.local.places import place
from hpcai.specs.site import cache_dir
from tests.real_cluster import RealBlob, RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real


def run(cluster: RealCluster, *words: str) -> str:
    return subprocess.run(words, env=cluster.environ, capture_output=True, text=True, check=True).stdout


def test_a_program_runs_on_every_node(cluster: RealCluster) -> None:
    told = run(cluster, "srun", "-N3", "sh", "-c", "echo $SLURMD_NODENAME")
    assert sorted(told.split()) == ["n1", "n2", "n3"]


def test_munged_serves_where_only_its_user_may_enter(cluster: RealCluster) -> None:
    """Left to itself it refuses a socket whose folder is not open to all."""
    state = cache_dir() / "local" / cluster.name
    assert state.stat().st_mode & 0o777 == 0o700
    assert run(cluster, "munge", "-n", "-S", f"{state}/run/munge.sock").startswith("MUNGE:")


def test_each_node_has_scratch_of_its_own(cluster: RealCluster) -> None:
    scratch = cluster.environ["HPCAI_SCRATCH"]
    assert scratch.endswith("/%n")
    script = 'd=$(echo "$HPCAI_SCRATCH" | sed "s/%n/$SLURMD_NODENAME/"); echo "$SLURMD_NODENAME" > "$d/who"'
    run(cluster, "srun", "-N3", "sh", "-c", script)
    assert [Path(scratch.replace("%n", node), "who").read_text() for node in ("n1", "n2", "n3")] == [
        "n1\n",
        "n2\n",
        "n3\n",
    ]


def test_a_node_may_claim_more_cpus_than_the_machine_has(cluster: RealCluster) -> None:
    assert run(cluster, "srun", "-N3", "-n12", "echo", "here").count("here") == 12


def test_pretended_gpus_are_given_out_and_no_node_is_drained_for_them(cluster: RealCluster) -> None:
    told = run(cluster, "srun", "-N3", "--gpus-per-node=2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert told == "0,1\n" * 3
    half = run(cluster, "srun", "-N1", "--gpus-per-node=1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert half == "0\n"
    assert [node.reason for node in embedded.status(cluster.name).nodes] == [None, None, None]


def test_steps_are_measured(cluster: RealCluster) -> None:
    """With slurmstepd under another name, every step that gathers figures would crash."""
    hold = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 600"
    job = run(cluster, "sbatch", "--parsable", "-o", "/dev/null", "--wrap", f"srun sh -c {hold!r}").strip()

    def peak_kib() -> float:
        words = ["sstat", "-n", "-P", "--noconvert", "-j", f"{job}.0", "-o", "MaxRSS"]
        done = subprocess.run(words, env=cluster.environ, capture_output=True, text=True, check=False)
        return float(done.stdout.strip().rstrip("K") or 0)

    try:
        until(lambda: peak_kib() > 20_000, 60, "the node counts the memory")
    finally:
        run(cluster, "scancel", job)


def test_the_list_of_mpi_plugins_is_that_of_the_plugins_that_are_there(cluster: RealCluster) -> None:
    loaded = record.load_cluster(place(cache_dir(), cluster.name))
    assert loaded is not None
    plugins = loaded.prefix.rglob("slurm/mpi_*.so")
    # `none` is a plugin in older versions and always there in newer ones.
    there = {"none", *(path.stem.removeprefix("mpi_") for path in plugins)}
    assert SlurmClient(cluster.environ).mpi_plugins() == there


def test_nodes_that_share_the_machine_do_not_collide_in_pmix(cluster: RealCluster) -> None:
    cluster.skip_without_pmix()
    script = "echo $PMIX_RANK; test -d $PMIX_SERVER_TMPDIR && echo $PMIX_SERVER_TMPDIR"
    told = run(cluster, "srun", "-N3", "-n6", "--mpi=pmix", "sh", "-c", script).split()
    assert sorted(word for word in told if word.isdigit()) == ["0", "1", "2", "3", "4", "5"]
    assert len({word for word in told if not word.isdigit()}) == 3


def test_mpi_ranks_of_two_nodes_do_not_share_memory_by_mistake(cluster: RealCluster, tmp_path: Path) -> None:
    names = ("OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory")
    for name in names:
        told = run(cluster, "srun", "-N3", "printenv", name).split()
        assert len(set(told)) == 3
        assert all(Path(folder).is_dir() for folder in told)
    out = tmp_path / "out"
    run(cluster, "sbatch", "-W", "-N3", "-o", str(out), "--wrap", f"srun printenv {names[0]}")
    assert len(set(out.read_text().split())) == 3
    kept = run(cluster, "env", f"{names[0]}=/mine", "srun", "printenv", names[0])
    assert kept == "/mine\n"


def test_a_preempted_job_runs_again_soon(cluster: RealCluster, tmp_path: Path) -> None:
    """By default its old credential would keep it in the queue for two minutes."""
    out = tmp_path / "out"
    script = 'echo "$SLURM_RESTART_COUNT"; test "$SLURM_RESTART_COUNT" && exit; sleep 600'
    options = ["-N3", "--exclusive", "-o", str(out), "--open-mode=append", "--parsable"]
    job = run(cluster, "sbatch", *options, "--wrap", script).strip()
    until(lambda: out.exists() and out.read_text() == "\n", 60, "the job has written")
    assert run(cluster, "srun", "-p", "urgent", "-N3", "--exclusive", "echo", "urgent") == "urgent\n" * 3
    until(lambda: "JobState=COMPLETED" in run(cluster, "scontrol", "show", "job", job), 40, "the job ends")
    assert out.read_text().splitlines()[-1] == "1"


def test_nothing_of_the_host_is_loaded_and_nothing_leaks_into_tasks(cluster: RealCluster) -> None:
    loaded = record.load_cluster(place(cache_dir(), cluster.name))
    assert loaded is not None
    pids = embedded.status(cluster.name).pids
    for daemon in ("munged", "slurmctld", "n1", "n2", "n3"):
        lines = Path(f"/proc/{pids[daemon]}/maps").read_text().splitlines()
        files = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
        # Users are looked up as the host is configured to, by the modules that the host has for it; libcap is
        # what systemd's brings.
        modules = ("/libnss_", "/libcap.so")
        libraries = {file for file in files if ".so" in file and not any(one in file for one in modules)}
        assert libraries
        assert {file for file in libraries if not file.startswith(str(loaded.prefix))} == set()
    names = {line.partition("=")[0] for line in run(cluster, "srun", "-n1", "env").splitlines()}
    assert not {"LD_LIBRARY_PATH", "HWLOC_PLUGINS_PATH", "HPCAI_LOCAL_STATE", "HPCAI_LOCAL_NODE"} & names


def test_ports_lie_below_those_of_outgoing_connections(cluster: RealCluster) -> None:
    loaded = record.load_cluster(place(cache_dir(), cluster.name))
    assert loaded is not None
    assert len(set(loaded.ports)) == 5
    assert max(loaded.ports) < 32768


def test_locked_memory_is_what_the_machine_allows(cluster: RealCluster) -> None:
    told = run(cluster, "sh", "-c", "ulimit -l 64 2>/dev/null; srun -n1 sh -c 'ulimit -l'")
    assert told == run(cluster, "sh", "-c", "ulimit -H -l")


def test_blob_answers_only_who_has_the_key(blob: RealBlob) -> None:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob import BlobServiceClient

    def client(key: str) -> BlobServiceClient:
        return BlobServiceClient(blob.endpoint, credential={"account_name": blob.account, "account_key": key})

    with client(blob.account_key) as right, right.create_container("trap-tests") as container:
        container.upload_blob("one", b"1")
        assert container.download_blob("one").readall() == b"1"
    # The key that everybody knows from Azurite's manual.
    known = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    with client(known) as wrong, pytest.raises(HttpResponseError, match="AuthorizationFailure"):
        wrong.create_container("trap-tests-2")
