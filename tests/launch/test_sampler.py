"""The sampler as the process that it is on a node: what it writes, what it survives, when it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcai import processes
from hpcai.launch import sampler
from hpcai.runs import jsonl
from tests.launch import node_tree
from tests.waiting import until

# It notes how it was called, and tells of two cards each second.
NVIDIA_SMI = """#!/bin/bash
echo "$BASHPID $*" >>"$0.called"
while :; do
  for card in 0 1; do echo "$card, GPU-$card, NVIDIA H200, 143771, $((card * 90 + 5)), 2048, 120.5"; done
  sleep 0.2
done
"""


class Bench:
    """A node that is a folder, and the sampler's file in a run's."""

    def __init__(self, folder: Path) -> None:
        self.root = node_tree.make(folder / "node")
        self.bin = folder / "bin"
        self.run = folder / "run"
        self.file = self.run / "samples/n1.jsonl"
        self.bin.mkdir()
        self.file.parent.mkdir(parents=True)

    def tool(self, text: str = NVIDIA_SMI) -> Path:
        path = self.bin / "nvidia-smi"
        path.write_text(text)
        path.chmod(0o755)
        return path

    @contextmanager
    def start(self) -> Iterator[subprocess.Popen[bytes]]:
        """The sampler, running."""
        argv = [sys.executable, "-m", "hpcai.launch.sampler", self.file, "3", self.root]
        environ = {**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin", "HPCAI_SAMPLES_EVERY_S": "0.3"}
        environ["HPCAI_SCRATCH"] = str(self.run)
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
        program = subprocess.Popen(argv, env=environ, **pipes)
        try:
            yield program
        finally:
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                assert pipe is not None
                pipe.close()

    def lines(self) -> list[dict[str, Any]]:
        return jsonl.read(self.file)

    def samples(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "event" not in line]

    def wait(self, count: int) -> list[dict[str, Any]]:
        return until(lambda: self.samples() if len(self.samples()) >= count else None, 30, f"{count} samples")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.programs
def test_a_node_is_told_of_by_lines_and_one_nvidia_smi_for_all(bench: Bench) -> None:
    tool = bench.tool()
    with bench.start() as program:
        bench.wait(1)
        node_tree.turn(bench.root, 10)
        bench.wait(4)
        # The job has ended.
        assert program.communicate(b"", timeout=5)[0] == b""
        assert program.returncode == 0
    started, gpus = bench.lines()[:2]
    assert (started["event"], started["attempt"], started["infiniband_ports"]) == (
        "started",
        3,
        ["mlx5_ib0", "mlx5_ib1"],
    )
    assert started["missing"] == {"job_cpu_cores": "Slurm keeps no cgroup of this job here"}
    assert (gpus["gpus"], gpus["gpu_total_memory_gib"]) == (
        ["0 NVIDIA H200", "1 NVIDIA H200"],
        [140.4, 140.4],
    )
    assert {line["attempt"] for line in bench.lines()} == {3}
    assert [line["gpu_busy_percent"] for line in bench.samples()].count([5.0, 95.0]) >= 2
    assert max(line["infiniband_in_gb_per_s"] for line in bench.samples())[0] > 0
    keys = {key for one in bench.samples() for key in one}
    assert {"cpu_percent", "memory_gib", "scratch_full_percent"} <= keys
    called = tool.with_name("nvidia-smi.called").read_text().split()
    assert called[1:] == [
        f"--query-gpu={','.join(sampler.CARD_FIELDS)}",
        "--format=csv,noheader,nounits",
        "-l",
        "1",
    ]
    assert processes.find(int(called[0])) is None


@pytest.mark.programs
def test_no_signal_of_the_jobs_ends_it_but_that_of_the_end(bench: Bench) -> None:
    with bench.start() as program:
        seen = len(bench.wait(1))
        for number in (
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGHUP,
            signal.SIGINT,
            signal.SIGALRM,
            signal.SIGRTMAX,
        ):
            program.send_signal(number)
        bench.wait(seen + 2)
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0


@pytest.mark.programs
def test_it_ends_when_whoever_started_it_is_gone(bench: Bench) -> None:
    script = (
        f"sleep 1000 | {shlex.quote(sys.executable)} -m hpcai.launch.sampler {bench.file} 0 & echo $!; wait"
    )
    environ = {**os.environ, "HPCAI_SAMPLES_EVERY_S": "0.3"}
    shell = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, env=environ, start_new_session=True
    )
    try:
        assert shell.stdout is not None
        left = processes.find(int(shell.stdout.readline()))
        bench.wait(1)
        shell.kill()
        shell.wait()
        until(lambda: left is None or not processes.is_alive(left), 10, "the sampler has ended")
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.stdout.close()  # type: ignore[union-attr]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("tool", "why"),
    [
        (None, "'nvidia-smi' is not on PATH."),
        (
            "#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'; exit 9",
            "nvidia-smi ended with status 9: NVIDIA-SMI has failed: no driver",
        ),
        ("not a program", "'nvidia-smi' cannot be started: Exec format error."),
    ],
)
def test_what_is_missing_is_told_once(bench: Bench, tool: str | None, why: str) -> None:
    if tool is not None:
        bench.tool(tool)
    with bench.start():
        assert all("gpu_busy_percent" not in line for line in bench.wait(3))
    told = [line["missing"]["gpus"] for line in bench.lines() if "gpus" in line.get("missing", {})]
    assert told == [why]


@pytest.mark.programs
def test_a_cards_tool_that_hangs_holds_nothing_up(bench: Bench) -> None:
    bench.tool("#!/bin/bash\nprintf '0, GPU-0, NVI'; exec sleep 1000")
    with bench.start() as program:
        bench.wait(2)
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0


@pytest.mark.programs
def test_a_full_disk_and_a_folder_that_is_gone_cost_their_samples_only(bench: Bench) -> None:
    bench.file.symlink_to("/dev/full")
    with bench.start() as program:
        # Nothing outside tells of samples that are lost: three are due in a second.
        time.sleep(1)
        assert program.poll() is None
        bench.file.unlink()
        # What was said once is said when there is room.
        bench.wait(2)
        assert bench.lines()[0]["event"] == "started"
        away = bench.run.with_name("away")
        bench.run.rename(away)
        # Three more.
        time.sleep(1)
        assert program.poll() is None and not bench.run.exists()
        away.rename(bench.run)
        bench.wait(len(bench.samples()) + 1)
        assert program.poll() is None


@pytest.mark.programs
def test_a_killed_one_leaves_lines_that_can_be_read_and_goes_on_in_the_same_file(bench: Bench) -> None:
    with bench.start() as program:
        bench.wait(1)
        program.kill()
    with bench.file.open("ab") as file:
        file.write(b'{"time": 17')
    with bench.start():
        until(
            lambda: [one["event"] for one in bench.lines() if "event" in one] == ["started"] * 2,
            10,
            "started",
        )
        bench.wait(2)


def test_an_hour_of_lines_takes_at_most_a_megabyte() -> None:
    wide = {
        "time": 1795286529.81,
        "attempt": 0,
        **{key: [100.0] * 8 for key in ("gpu_busy_percent", "gpu_memory_gib", "gpu_power_w")},
    }
    wide |= {f"infiniband_{way}_gb_per_s": [12.345] * 8 for way in ("in", "out")}
    others = ("cpu_percent", "job_cpu_cores", "memory_gib", "job_memory_gib", "scratch_full_percent")
    wide |= dict.fromkeys(others, 12345.67)
    wide |= {
        f"{key}_gb_per_s": 0.000123 for key in ("ethernet_in", "ethernet_out", "disk_read", "disk_written")
    }
    size = len(json.dumps(wide)) + 1
    own = size
    assert own * 360 < 350_000
    for size in (300, 700, 3000, 20_000, 80_000):
        for every_s in (1.0, 10.0):
            written, elapsed_s = size, every_s
            while elapsed_s < 3600:
                elapsed_s += sampler.pause_s(written, elapsed_s, every_s)
                written += size
            assert written <= sampler.BYTES_PER_H + 2 * size, (size, every_s)
    assert sampler.pause_s(360 * own, 3600, sampler.EVERY_S) == sampler.EVERY_S


@pytest.mark.parametrize(
    ("told", "every_s"), [("", 10.0), ("30", 30.0), ("0.01", 0.2), ("1e9", 300.0), ("x", 10.0)]
)
def test_how_often_is_a_matter_of_a_variable(told: str, every_s: float) -> None:
    assert sampler._every_s({"HPCAI_SAMPLES_EVERY_S": told}) == every_s


@pytest.mark.programs
def test_it_loads_next_to_nothing() -> None:
    """It lives as long as the job: no large library is kept in memory for it."""
    look = "import sys, hpcai.launch.sampler; print({name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("numpy", "yaml", "pydantic", "jinja2", "click") if f"'{name}'" in loaded]
