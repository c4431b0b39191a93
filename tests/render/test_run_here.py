"""Rendered scripts run by a real bash, on this machine: the same body as under Slurm."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcai import shell
from hpcai.render.environment import quote
from hpcai.render.job import render_job
from hpcai.render.resolved import resolve_job
from hpcai.runs import jsonl
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from tests.waiting import until

# What hpcai would be called with on the node, one zero byte after each word.
STAND_IN = """#!/bin/bash
printf '%s\\0' "$@" >"$(dirname "$0")/called"
[[ -z ${REFUSE:-} ]] || exit "$REFUSE"
"""


class Here:
    """A folder with a run in it, whose script runs on this machine."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.work = folder / "work"
        self.scratch = folder / "scratch"
        for path in (self.run, self.work, self.scratch):
            path.mkdir()
        self.python = folder / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR)
        self.script = folder / "script.sbatch"

    def render(self, **fields: Any) -> Path:
        spec = JobSpec(**({"name": "here", "workdir": self.work} | fields))
        site = Site(self.run.parent, scratch=f"{self.scratch}/%n")
        resolved = resolve_job(spec, site, interpreter=self.python)
        self.script.write_text(render_job(resolved, self.run, where="local"), encoding="utf-8")
        return self.script

    def __call__(self, **fields: Any) -> shell.Completed:
        return shell.run(
            ["bash", self.render(**fields)], timeout_s=30, check=False, env={"PATH": os.environ["PATH"]}
        )

    def log(self, name: str) -> str:
        return (self.run / "logs/0" / name).read_bytes().decode()

    def attempts(self) -> list[dict[str, Any]]:
        return jsonl.read(self.run / "attempts.jsonl")


@pytest.fixture
def here(weird_folder: Path) -> Here:
    return Here(weird_folder)


@pytest.fixture
def plainly_here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.mark.programs
def test_places_values_and_commands_arrive_unchanged_whatever_they_are_called(here: Here) -> None:
    value = 'it\'s "$HOME" `x` \\ 100% #\nsecond line \t漢'
    command = (
        """printf '%s\\0' "$VALUE" "$PWD" "$HPCAI_OUTPUTS" "$HPCAI_DATA_A_B" "$SLURM_PROCID" 'a  b' "it's" """
    )
    done = here(
        command=command, env={"VALUE": value}, data=[{"name": "a-b", "source": "azure://data/x?y=1&z='"}]
    )
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    host, job_id = here.attempts()[0]["node_list"], here.attempts()[0]["job_id"]
    link = f"{here.scratch}/{host}/hpcai/jobs/{job_id}/a-b"
    assert here.log("0.out").split("\0") == [
        *(value, str(here.work), str(here.run / "outputs"), link, "0", "a  b", "it's", "")
    ]
    assert here.log("0.err") == ""
    record = str(here.run / "data" / f"{host}.jsonl")
    assert (here.python.parent / "called").read_bytes().decode().split("\0")[:-1] == [
        *("-m", "hpcai", "data", "pull", "azure://data/x?y=1&z='", "--link", link, "--record", record)
    ]
    assert [line["event"] for line in here.attempts()] == ["start", "staged", "end"]


@pytest.mark.programs
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_text_arrives_as_value_and_as_argument(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    here = Here(tmp_path_factory.mktemp("text"))
    quoted = "'" + text.replace("'", "'\\''") + "'"
    done = here(command=f"printf '%s\\0' \"$VALUE\" {quoted}", env={"VALUE": text})
    assert done.status == 0
    assert here.log("0.out").split("\0") == [text, text, ""]


TEARDOWN = [
    "false",
    'echo "$PWD $HPCAI_EXIT_STATUS $HPCAI_SCRATCH ${SLURM_PROCID:-batch}" >>"$HPCAI_OUTPUT_TOLD/it"',
]


@pytest.mark.programs
@pytest.mark.parametrize(("command", "status"), [("true", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_teardown_runs_once_however_the_job_ended(plainly_here: Here, command: str, status: int) -> None:
    outputs = [{"name": "told"}]
    done = plainly_here(command=command, ntasks_per_node=2, teardown=[*TEARDOWN, "exit 3"], outputs=outputs)
    assert done.status == status and done.stderr.endswith("teardown: ended with status 3\n")
    told = (plainly_here.run / "outputs/told/it").read_text()
    scratch = plainly_here.scratch / plainly_here.attempts()[0]["node_list"]
    assert told == f"{plainly_here.work} {status} {scratch} batch\n"
    assert plainly_here.attempts()[-1]["exit_status"] == status


@pytest.mark.programs
def test_teardown_runs_where_the_setup_of_the_tasks_fails(plainly_here: Here) -> None:
    done = plainly_here(command="true", setup=["false"], teardown=TEARDOWN, outputs=[{"name": "told"}])
    assert done.status == 1
    assert (plainly_here.run / "outputs/told/it").read_text().split()[1] == "1"


@pytest.mark.programs
def test_a_teardown_that_fails_where_the_disk_is_full_masks_no_status(plainly_here: Here) -> None:
    script = plainly_here.render(command="exit 5", teardown=["exit 3"])
    full = f"exec bash {quote(script)} >/dev/full 2>&1"
    assert shell.run(["bash", "-c", full], timeout_s=30, check=False).status == 5


@pytest.mark.programs
def test_a_teardown_that_hangs_is_ended(plainly_here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcai.render.job.TEARDOWN_S", 1)
    done = plainly_here(command="exit 5", teardown=["sleep 600"])
    assert done.status == 5
    assert "teardown: ended with status 137" in done.stderr


@pytest.mark.programs
@pytest.mark.parametrize(("servers", "types"), [(None, "worker worker worker"), (1, "chief worker ps")])
def test_tensorflow_finds_its_tasks_on_this_machine(
    plainly_here: Here, servers: int | None, types: str
) -> None:
    command = 'echo "$TF_CONFIG"'
    if servers is not None:
        # The others end when the chief does, also before they have told anything.
        command += "; touch $HPCAI_OUTPUTS/$SLURM_PROCID; [[ $SLURM_PROCID = 0 ]] || exec sleep 60"
        command += "; until [[ -e $HPCAI_OUTPUTS/1 && -e $HPCAI_OUTPUTS/2 ]]; do sleep 0.1; done"
    done = plainly_here(command=command, launcher="tensorflow", ntasks_per_node=3, parameter_servers=servers)
    assert (done.status, done.stderr) == (0, "")
    told = [json.loads(plainly_here.log(f"{rank}.out")) for rank in range(3)]
    assert " ".join(one["task"]["type"] for one in told) == types
    ports = {address for tasks in told[0]["cluster"].values() for address in tasks}
    assert len(ports) == 3 and all(address.startswith("localhost:") for address in ports)


@pytest.mark.programs
def test_the_script_ends_with_the_first_bad_status_and_ends_the_other_ranks(plainly_here: Here) -> None:
    command = '[[ $SLURM_PROCID = 1 ]] || exec sleep 60; echo "rank 1 fails" >&2; exit 7'
    done = plainly_here(command=command, ntasks_per_node=2)
    assert done.status == 7
    assert plainly_here.log("1.err") == "rank 1 fails\n"
    assert plainly_here.attempts()[-1]["exit_status"] == done.status


@pytest.mark.programs
@pytest.mark.parametrize("_again", range(5))
def test_a_killed_rank_is_missed_by_nobody(plainly_here: Here, _again: int) -> None:
    """Bash forgets the status of a killed child when it happens to look elsewhere: one call in three did."""
    command = "[[ $SLURM_PROCID = 1 ]] || exec sleep 60; kill -9 $$"
    assert plainly_here(command=command, ntasks_per_node=3).status == 128 + signal.SIGKILL


@pytest.mark.programs
def test_a_failing_setup_line_stops_with_its_status(plainly_here: Here) -> None:
    done = plainly_here(command="echo not reached", setup=["export A=1", "(exit 5)", "echo not reached"])
    assert done.status == 5
    assert plainly_here.log("0.out") == ""


@pytest.mark.programs
@pytest.mark.parametrize(
    ("setup", "status"),
    [
        (["exit 0"], 1),
        (["exec true"], 1),
        (["trap 'exit 0' EXIT", "false"], 1),
        (["trap - EXIT", "exit 0"], 1),
        (["kill() { :; }", "exit 6"], 6),
        (["kill -KILL $BASHPID"], 137),
    ],
)
def test_nothing_in_setup_hides_that_the_command_never_began(
    plainly_here: Here, setup: list[str], status: int
) -> None:
    assert plainly_here(command="echo not reached", setup=setup).status == status
    assert plainly_here.log("0.out") == ""
    assert "setup ended before the command, with status" in plainly_here.log("0.err")


@pytest.mark.programs
@pytest.mark.parametrize(
    "setup", [["set +e", "false"], ["trap 'exit 0' EXIT"], ["sleep 300 &"], ["true \\"], ["kill() { :; }"]]
)
def test_behind_any_setup_the_command_s_own_status_counts(plainly_here: Here, setup: list[str]) -> None:
    assert plainly_here(command="exit 5", setup=setup).status == 5
    assert plainly_here.log("0.err") == ""


@pytest.mark.programs
def test_setup_lines_reach_the_command(plainly_here: Here) -> None:
    plainly_here(command='echo "$A $B"', setup=["A=one; export A", "END='x'\nexport B=\"$END\nEND\""])
    assert plainly_here.log("0.out") == "one x\nEND\n"


@pytest.mark.programs
@pytest.mark.parametrize("below", ["", "/nvme"])
def test_this_machine_gets_its_part_of_a_scratch_that_names_nodes(plainly_here: Here, below: str) -> None:
    env = {"HPCAI_SCRATCH": f"{plainly_here.scratch}/of-%n{below}"}
    assert plainly_here(command='[[ -d $HPCAI_SCRATCH ]] && echo "$HPCAI_SCRATCH"', env=env).status == 0
    made = plainly_here.log("0.out").strip()
    assert re.fullmatch(re.escape(f"{plainly_here.scratch}/of-") + f"[^/%]+{below}", made)


@pytest.mark.programs
def test_tasks_are_told_their_cpus_as_by_slurm(plainly_here: Here) -> None:
    plainly_here(command='echo "${SLURM_CPUS_PER_TASK-none}"', cpus_per_task=3)
    assert plainly_here.log("0.out") == "3\n"


@pytest.mark.programs
def test_a_scratch_that_is_nowhere_is_not_made(plainly_here: Here) -> None:
    plainly_here.scratch.rmdir()
    assert plainly_here(command="[[ ! -e $HPCAI_SCRATCH ]]").status == 0
    assert not plainly_here.scratch.exists()


@pytest.mark.programs
def test_data_that_does_not_come_stops_the_job_before_the_command(plainly_here: Here) -> None:
    data = [{"name": "digits", "source": "azure://data/x", "version": "0123456789"}]
    done = plainly_here(command="echo not reached", data=data, env={"REFUSE": "7"})
    assert done.status == 7
    assert [line["event"] for line in plainly_here.attempts()] == ["start", "end"]
    assert plainly_here.attempts()[-1]["exit_status"] == 7
    assert not (plainly_here.run / "logs/0/0.out").exists()
    assert (plainly_here.python.parent / "called").read_bytes().endswith(b"--version\x000123456789\0")


@pytest.mark.programs
def test_a_run_folder_that_is_gone_stops_nothing(plainly_here: Here) -> None:
    plainly_here.run.rmdir()
    done = plainly_here(command='echo "rank $SLURM_PROCID"; echo problem >&2', ntasks_per_node=2)
    assert (done.status, sorted(done.stdout.splitlines())) == (0, ["rank 0", "rank 1"])
    assert done.stderr == "problem\nproblem\n"
    assert not plainly_here.run.exists()


@pytest.mark.programs
def test_a_second_run_by_hand_adds_to_the_logs_and_heals_the_record(plainly_here: Here) -> None:
    plainly_here(command="echo once")
    with (plainly_here.run / "attempts.jsonl").open("a") as record:
        record.write('{"attempt": 0, "ev')  # as after a power loss
    plainly_here(command="echo once")
    assert plainly_here.log("0.out") == "once\nonce\n"
    assert [line["event"] for line in plainly_here.attempts()] == ["start", "end"] * 2


@pytest.mark.programs
@pytest.mark.parametrize(("name", "number"), [("TERM", signal.SIGTERM), ("USR1", signal.SIGUSR1)])
def test_a_signal_to_the_script_reaches_every_rank(
    plainly_here: Here, name: str, number: signal.Signals
) -> None:
    command = (
        f"trap 'echo got {name}; exit 0' {name}; echo ready; while :; do read -rt 0.1 <> <(:) || true; done"
    )
    process = shell.start(["bash", plainly_here.render(command=command, ntasks_per_node=2)], new_session=True)
    try:
        logs = [plainly_here.run / f"logs/0/{rank}.out" for rank in (0, 1)]
        while not all(log.exists() and "ready" in log.read_text() for log in logs):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert [log.read_text() for log in logs] == [f"ready\ngot {name}\n"] * 2
        assert plainly_here.attempts()[-1]["exit_status"] == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


SAVES = """import signal, sys
signal.signal(getattr(signal, sys.argv[1]), lambda *_: sys.exit("saved"))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.programs
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize("form", ["{}; echo after", "true\n{} || true\necho after\n", "{} || echo after"])
def test_a_program_among_others_handles_a_signal(plainly_here: Here, name: str, form: str) -> None:
    (plainly_here.work / "saves.py").write_text(SAVES)
    script = plainly_here.render(
        command=form.format(f"{quote(sys.executable)} saves.py {name}"), ntasks_per_node=2
    )
    process = shell.start(["bash", script], new_session=True)
    try:
        logs = [plainly_here.run / f"logs/0/{rank}.out" for rank in (0, 1)]
        until(lambda: all(log.exists() and log.read_text() for log in logs), 20, "both ranks are ready")
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=20) == 0
        assert [log.read_text() for log in logs] == ["ready\nafter\n"] * 2
        assert plainly_here.log("1.err") == "saved\n"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.programs
@pytest.mark.parametrize("form", ["{}", "cd . && {}", "{}\necho after\n", "{} || echo after"])
def test_a_command_ends_at_sigterm_as_the_program_that_handles_it(plainly_here: Here, form: str) -> None:
    (plainly_here.work / "saves.py").write_text(SAVES)
    script = plainly_here.render(command=form.format(f"{quote(sys.executable)} saves.py SIGTERM"))
    process = shell.start(["bash", script], new_session=True)
    try:
        log = plainly_here.run / "logs/0/0.out"
        until(lambda: log.exists() and log.read_text(), 20, "the program is ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 1
        assert (log.read_text(), plainly_here.log("0.err")) == ("ready\n", "saved\n")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.programs
def test_scratch_is_found_when_the_site_names_none(plainly_here: Here, tmp_path: Path) -> None:
    spec = JobSpec(name="here", command='echo "$HPCAI_SCRATCH"', workdir=tmp_path)
    resolved = resolve_job(spec, Site(tmp_path), interpreter=plainly_here.python)
    plainly_here.script.write_text(render_job(resolved, plainly_here.run, where="local"))
    shell.run(["bash", plainly_here.script], timeout_s=30, env={"PATH": os.environ["PATH"]})
    found = Path(plainly_here.log("0.out").strip())
    assert found in map(Path, ("/mnt/nvme", "/nvme", "/mnt/resource", "/mnt", "/tmp"))
    assert os.access(found, os.W_OK)


@pytest.mark.real
@pytest.mark.parametrize("weird_folder", ["with space %t"], indirect=True)
def test_mpi_ranks_start_through_mpirun(here: Here) -> None:
    pytest.importorskip("mpi4py")
    code = "from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.rank, c.size, c.allreduce(c.rank + 1))"
    done = here(command=f"{quote(sys.executable)} -c {quote(code)}", launcher="mpi", ntasks_per_node=2)
    assert (done.status, done.stdout) == (0, ""), done.stderr
    assert (here.log("0.out"), here.log("1.out")) == ("0 2 3\n", "1 2 3\n")


@pytest.mark.real
def test_mpi_ranks_end_with_the_first_bad_status_too(plainly_here: Here) -> None:
    command = "[[ $SLURM_PROCID = 1 ]] || exec sleep 60; exit 7"
    assert plainly_here(command=command, launcher="mpi", ntasks_per_node=2).status == 7


@pytest.mark.programs
def test_a_rendezvous_server_that_does_not_start_is_told_however_quickly_it_ended(tmp_path: Path) -> None:
    here = Here(tmp_path)
    script = here.render(launcher="horovod", horovod_controller="gloo", command="true")
    # Bash forgets the server's pipe as soon as it notices its end: here, before it is read.
    noticed = 'while [[ -n "${HPCAI_SERVER_PID:-}" ]]; do sleep 0.01; done'
    text, count = re.subn("(?m)^read -r HOROVOD_GLOO", f"{noticed}\n\\g<0>", script.read_text())
    assert count == 1
    script.write_text(text)
    done = shell.run(["bash", script], timeout_s=30, check=False, env={"PATH": os.environ["PATH"]})
    assert (done.status, done.stderr) == (1, "Horovod's rendezvous server did not start: see above\n")
