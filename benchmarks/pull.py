"""What `hpcai data pull` costs beside a bare obstore and beside azure-storage-blob, from the real emulator.

    python benchmarks/pull.py [--rounds 7] [--record benchmarks/records]

Each round downloads one data set with each client, in random order, each in a process of its own that is
measured whole, its start included (`benchmarks/_pull_clients.py`). hpcai verifies every chunk and publishes;
the others only write files. The emulator is one slow thread, so wall times mostly tell of it: compare CPU
seconds. A ratio is the median over rounds of hpcai over the other, with the bootstrap 95 % interval.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

from hpcai.slurm.local import azurite
from hpcai.specs.site import cache_dir
from hpcai.staging.chunks import HashingWriter
from hpcai.staging.manifest import MANIFEST_NAME, Manifest, Shard, Split
from hpcai.staging.pack import pack
from hpcai.staging.push import push

HERE = Path(__file__).resolve().parent
CLIENTS = ("hpcai", "obstore", "sdk", "sdk-tuned")
MIB = 1024 * 1024


def digits(folder: Path) -> None:
    """The demo's data set: 1,797 small JPEG in 6 shards, 5.5 MB."""
    script = HERE.parent / "examples" / "digits" / "write_images.py"
    subprocess.run([sys.executable, script, folder / "images"], check=True)
    pack(folder / "images", folder / "packed", name="digits", shard_bytes=MIB)


def synthetic(folder: Path) -> None:
    """3 shards of 64 MiB of random bytes, 201 MB."""
    packed = folder / "packed"
    packed.mkdir(parents=True)
    numbers = random.Random(0)
    shards = []
    for index in range(3):
        with (packed / f"train-{index:06d}.tar").open("wb") as file:
            writer = HashingWriter(file)
            for _ in range(8):
                writer.write(numbers.randbytes(8 * MIB))
            shards.append(Shard(f"train-{index:06d}.tar", writer.bytes, 1, writer.chunks()))
    manifest = Manifest("synthetic", ("only",), {"train": Split(3, (3,), tuple(shards))})
    (packed / MANIFEST_NAME).write_text(manifest.to_text())


def measured(client: str, url: str, target: Path, environ: dict[str, str]) -> dict[str, float]:
    """CPU and wall seconds of one whole process."""
    words = [sys.executable, HERE / "_pull_clients.py", client, url, target]
    started = time.perf_counter()
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{client} ended with {status}")
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime}


def interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """The bootstrap 95 % interval of the median."""
    numbers = random.Random(0)
    medians = sorted(statistics.median(numbers.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def compare(rounds: list[dict[str, dict[str, float]]], size_bytes: int) -> dict[str, object]:
    clients: dict[str, object] = {}
    for client in CLIENTS:
        cpu = [each[client]["cpu_s"] for each in rounds]
        wall = [each[client]["wall_s"] for each in rounds]
        ratios = [each["hpcai"]["cpu_s"] / each[client]["cpu_s"] for each in rounds]
        clients[client] = {
            "cpu_s": [round(value, 3) for value in cpu],
            "wall_s": [round(value, 3) for value in wall],
            "median_cpu_s": round(statistics.median(cpu), 3),
            "median_mb_per_s": round(size_bytes / 1e6 / statistics.median(wall), 1),
            "hpcai_cpu_over_this": round(statistics.median(ratios), 3),
            "hpcai_cpu_over_this_95": [round(value, 3) for value in interval(ratios)],
        }
    return {"bytes": size_bytes, "n": len(rounds), "clients": clients}


def run(rounds: int, folder: Path, environ: dict[str, str]) -> dict[str, object]:
    results: dict[str, object] = {}
    for make in (digits, synthetic):
        name = make.__name__
        make(folder / name)
        url = f"azure://benchmark/{name}"
        size = push(folder / name / "packed", url, environ).manifest.bytes
        done = []
        for number in range(rounds):
            order = random.sample(CLIENTS, len(CLIENTS))
            done.append({c: measured(c, url, folder / f"{name}-{number}-{c}", environ) for c in order})
            for client in CLIENTS:
                subprocess.run(["rm", "-rf", folder / f"{name}-{number}-{client}"], check=True)
        results[name] = compare(done, size)
    return results


def machine() -> dict[str, object]:
    model = next(
        (x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ": unknown"
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return {
        "cpu": model.partition(": ")[2],
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
        "command": "python benchmarks/pull.py " + " ".join(sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", type=Path, help="folder to write the record into")
    args = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory(prefix="hpcai-pull-") as text:
        folder = Path(text)
        key = b64encode(secrets.token_bytes(64)).decode()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environ = {
            **os.environ,
            "AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT,
            "AZURE_STORAGE_KEY": key,
            "HPCAI_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{azurite.ACCOUNT}",
        }
        environ.pop("HPCAI_STORAGE_CREDENTIALS", None)
        server = subprocess.Popen(
            azurite.argv(azurite.ensure(cache_dir()), port, folder / "azurite"),
            env={**os.environ, "AZURITE_ACCOUNTS": f"{azurite.ACCOUNT}:{key}"},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            record = {"schema_version": 1, "machine": about, "results": run(args.rounds, folder, environ)}
        finally:
            server.kill()
            server.wait()
    output = json.dumps(record, indent=1)
    print(output)
    if args.record is not None:
        args.record.mkdir(parents=True, exist_ok=True)
        (args.record / f"pull_{about['cores']}cores_{about['date']}.json").write_text(output + "\n")


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the emulator did not start")


if __name__ == "__main__":
    main()
