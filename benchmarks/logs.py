"""How soon `hpcai logs -f` shows what 64 ranks write, what following costs, and the end of a log of 10 GB."""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpcai.runs.record import Run, create_run

LIMIT_S = 1.0
RANKS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=40, help="so many lines, each of another rank")
    parser.add_argument("--gb", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        for ranks, words in ((1, []), (RANKS, ["--rank", "all"])):
            lags, cpu, syscalls = follow(run, words, ranks, options.lines)
            print(
                f"logs -f of {ranks} ranks: a line after {statistics.median(lags):.2f} s "
                f"({min(lags):.2f} to {max(lags):.2f}, n={len(lags)}), limit {LIMIT_S:g} s: "
                f"{'ok' if max(lags) <= LIMIT_S else 'MISSED'}; {100 * cpu:.1f} % of a core{syscalls}"
            )
        large(run, options.gb)


def make_run(root: Path) -> Run:
    run = create_run(root, "default", "x", spec_text="", resolved={"ntasks_per_node": RANKS}, script="")
    run.append_event("submitted", where="local")
    run.paths.log(0, 0).parent.mkdir(parents=True)
    run.paths.attempts.write_text('{"attempt": 0, "event": "start", "node_list": "n1", "time": 1}\n')
    for rank in range(RANKS):
        run.paths.log(0, rank).touch()
        run.paths.log(0, rank, "err").touch()
    return run


def follow(run: Run, words: list[str], ranks: int, lines: int) -> tuple[list[float], float, str]:
    """The delays in seconds of lines that are written one by one, the share of a core, and system calls."""
    argv = [sys.executable, "-m", "hpcai", "logs", "-f", run.name, *words]
    trace = ["strace", "-f", "-c", "-o", f"{run.path}/trace"] if has("strace") else []
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(run.path.parents[1]), "PATH": "/usr/bin:/bin"}
    lags = []
    for rank in range(RANKS):
        run.paths.log(0, rank).write_text("")
    following = subprocess.Popen(
        argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert following.stdout is not None
    write(run, 0)
    following.stdout.readline()
    before, begin = cpu_of(following.pid), time.monotonic()
    for number in range(lines):
        write(run, number % ranks)
        at = following.stdout.readline().rpartition("at ")[2]
        lags.append(time.time() - float(at))
        time.sleep(random.uniform(0.0, 1.0))
    share = (cpu_of(following.pid) - before) / (time.monotonic() - begin)
    following.kill()
    following.communicate()
    return lags, share, counted(trace, argv, environ)


def write(run: Run, rank: int) -> None:
    with run.paths.log(0, rank).open("a") as file:
        file.write(f"at {time.time()}\n")


def has(program: str) -> bool:
    return any(Path(folder, program).exists() for folder in os.environ["PATH"].split(":"))


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(trace: list[str], argv: list[str], environ: dict[str, str]) -> str:
    """How many system calls a second of quiet following takes, by strace."""
    if not trace:
        return ""
    counts = []
    for seconds in (3, 8):
        limited = [*trace, "timeout", "--signal=INT", str(seconds), *argv]
        subprocess.run(limited, env=environ, capture_output=True, check=False)
        total = Path(trace[-1]).read_text().splitlines()[-1].split()
        counts.append(int(total[-2] if not total[-3].isdigit() else total[-3]))
    return f", {(counts[1] - counts[0]) / 5:.0f} system calls a second"


def large(run: Run, gigabytes: float) -> None:
    with run.paths.log(0, 0).open("w") as file:
        file.truncate(int(gigabytes * 1e9))
        file.seek(0, 2)
        file.write("\n" + "".join(f"step {number} loss 0.5\n" for number in range(100_000)))
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(run.path.parents[1]), "PATH": "/usr/bin:/bin"}
    for words in (["--tail", "10"], ["--tail", "5", "--grep", "step 7.* loss"]):
        seconds, memory = [], []
        for _ in range(20):
            argv = [sys.executable, "-m", "hpcai", "logs", run.name, "--rank", "0", *words]
            begin = time.perf_counter()
            process = subprocess.Popen(
                argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, _, used = os.wait4(process.pid, 0)
            seconds.append(time.perf_counter() - begin)
            memory.append(used.ru_maxrss / 1024)
        print(
            f"logs {' '.join(words)} of {gigabytes:g} GB: {statistics.median(seconds):.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}, n={len(seconds)}), {max(memory):.0f} MiB"
        )


if __name__ == "__main__":
    main()
