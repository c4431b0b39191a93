"""Two ranks on this machine: Horovod's throughput over torch DDP's with Gloo, and the cost of our loop.

    python benchmarks/horovod_vs_ddp.py --rounds 10
    python benchmarks/horovod_vs_ddp.py --rounds 5 --also all

Both sides train the same ResNet-50 with the same batch, precision and optimizer and weights in channels_last,
started by the same mpirun. A round is one fresh pair of processes per variant, one after the other, in
turned order; its figure is the median step. The ratio is the median over the rounds of the ratio within a
round, its interval a bootstrap over rounds. The loop is timed in one process, epochs of it in turns with as
many bare steps (forward, backward, optimizer) on one batch.

A record with every round goes to benchmarks/records. The exit status says whether the ratio is reached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hpcai import shell  # noqa: E402

RESULT = "RESULT "
LEAST_RATIO, LEAST_UPPER_END = 0.9, 1.0


@dataclass(frozen=True)
class Variant:
    """One way to average gradients; `env` is what it needs around it."""

    what: str
    env: dict[str, str] = field(default_factory=dict)
    bucket_bytes: int | None = None


SPINNING = {"OMPI_MCA_mpi_yield_when_idle": "0"}
VARIANTS = {
    "ddp": Variant("torch DDP, Gloo, gradients as bucket views"),
    "horovod": Variant("ours: flat buckets of 25 MiB, MPI yields when idle"),
    "horovod-spinning": Variant("ours, but MPI spins as is its default", SPINNING),
    "horovod-one-bucket": Variant("ours, but all gradients in one bucket", bucket_bytes=1 << 40),
    "horovod-per-tensor": Variant("ours, but one call per weight", bucket_bytes=1),
    "horovod-cycle-0.1": Variant("ours, Horovod's cycle 0.1 ms instead of 1", {"HOROVOD_CYCLE_TIME": "0.1"}),
    "horovod-cycle-10": Variant("ours, Horovod's cycle 10 ms", {"HOROVOD_CYCLE_TIME": "10"}),
    "stock": Variant("hvd.DistributedOptimizer, weights contiguous, MPI yields"),
    "stock-spinning": Variant(
        "hvd.DistributedOptimizer as it comes: weights contiguous, MPI spins", SPINNING
    ),
    "stock-fp16": Variant("hvd.DistributedOptimizer, weights contiguous, MPI yields, gradients sent as fp16"),
}


@dataclass(frozen=True)
class Settings:
    """What is the same for every variant."""

    model: str
    image_size: int
    batch_size: int
    precision: str
    steps: int
    warm_up: int


@dataclass(frozen=True)
class Round:
    """One variant in one round, on rank 0: medians over the steps."""

    step_s: float
    cpu_s: float


# --- in the ranks -----------------------------------------------------------------------------------------


def rank_main(variant: str, settings: Settings) -> None:
    """Trains on one batch and prints the times of rank 0."""
    import torch

    from hpcai.train.world import read_world

    torch.set_num_threads(1)
    torch.manual_seed(0)
    world = read_world()
    step, close = prepared_step(variant, settings)
    times, cpu = [], []
    for number in range(settings.warm_up + settings.steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        step()
        if number >= settings.warm_up:
            times.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
    if world.rank == 0:
        tell({"step_s": statistics.median(times), "cpu_s": statistics.median(cpu)})
    close()


def prepared_step(variant: str, settings: Settings) -> tuple[Callable[[], None], Callable[[], None]]:
    import torch

    from hpcai.train.comm import connect
    from hpcai.train.horovod import connect_horovod
    from hpcai.train.recipe import RECIPES, build_optimizer
    from hpcai.train.resnet import build_model
    from hpcai.train.world import read_world

    world, device = read_world(), torch.device("cpu")
    model = build_model(settings.model, 10)
    if variant.startswith("stock"):
        return stock_step(variant, settings, model)
    model.to(memory_format=torch.channels_last)
    if variant == "ddp":
        comm = connect("ddp", world, device)
    else:
        bucket_bytes = VARIANTS[variant].bucket_bytes
        comm = connect_horovod(world, bucket_bytes) if bucket_bytes else connect_horovod(world)
    trained = comm.prepare(model)
    optimizer = build_optimizer(model, RECIPES["small"])
    return bare_step(settings, trained, optimizer, comm.finish_gradients), comm.close


def stock_step(variant: str, settings: Settings, model: Any) -> tuple[Callable[[], None], Callable[[], None]]:
    """Horovod as its documentation has it; it refuses weights in channels_last."""
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    import horovod.torch as hvd

    from hpcai.train.recipe import RECIPES, build_optimizer

    hvd.init()
    compression = hvd.Compression.fp16 if variant == "stock-fp16" else hvd.Compression.none
    optimizer = hvd.DistributedOptimizer(
        build_optimizer(model, RECIPES["small"]), model.named_parameters(), compression=compression
    )
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    return bare_step(settings, model, optimizer, lambda: None), hvd.shutdown


def bare_step(
    settings: Settings, trained: Any, optimizer: Any, finish: Callable[[], None]
) -> Callable[[], None]:
    """Forward, backward and optimizer on a batch that lies ready, in channels_last."""
    import torch
    from torch.nn import functional

    from hpcai.train.precision import autocast

    device = torch.device("cpu")
    side = settings.image_size
    pictures = torch.randn(settings.batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(settings.batch_size) % 10

    def step() -> None:
        with autocast(settings.precision, device):
            loss = functional.cross_entropy(trained(pictures), labels, label_smoothing=0.1)
        loss.backward()
        finish()
        optimizer.step()
        optimizer.zero_grad()

    return step


def loop_main(settings: Settings, rounds: int) -> None:
    """Times epochs of our loop in turns with as many bare steps, in one process."""
    from hpcai.train.loop import Training

    with tempfile.TemporaryDirectory() as scratch, assembled(settings, Path(scratch)) as (parts, position):
        training = Training(parts, position)
        bare = bare_step(
            Settings(**{**vars(settings), "precision": parts.precision}),
            parts.model,
            parts.optimizer,
            lambda: None,
        )
        training.train_epoch()
        ratios, cpu_ratios = [], []
        for number in range(rounds):
            position.begin_epoch(number + 1)
            pair: dict[str, tuple[float, float]] = {}
            for name in ("bare", "ours") if number % 2 else ("ours", "bare"):
                start, cpu_start = time.perf_counter(), time.process_time()
                if name == "ours":
                    training.train_epoch()
                else:
                    for _ in range(settings.steps):
                        bare()
                pair[name] = time.perf_counter() - start, time.process_time() - cpu_start
            ratios.append(pair["ours"][0] / pair["bare"][0])
            cpu_ratios.append(pair["ours"][1] / pair["bare"][1])
        tell({"precision": parts.precision, "ratios": ratios, "cpu_ratios": cpu_ratios})


@contextmanager
def assembled(settings: Settings, scratch: Path) -> Iterator[Any]:
    """Our training on made-up pictures, as one rank of one thread has it."""
    import torch

    from hpcai.train.options import parse_options
    from hpcai.train.rank import Rank
    from hpcai.train.records import Records
    from hpcai.train.run import assemble
    from hpcai.train.single import Single
    from hpcai.train.stopping import StopSignal, Watchdog
    from hpcai.train.world import ALONE

    torch.set_num_threads(1)
    data = made_up_data(scratch, settings.steps * settings.batch_size, settings.image_size)
    options = parse_options(
        [
            *("--data", str(data), "--run-dir", str(scratch / "run"), "--model", settings.model),
            *("--image-size", str(settings.image_size), "--batch-size", str(settings.batch_size)),
            *("--precision", settings.precision, "--epochs", "1000", "--checkpoint-every-s", "1e9"),
        ],
        {},
    )
    records = Records(options.run_dir, 0, 0)
    watchdog = Watchdog(1e6, "the benchmark", lambda: None)
    with StopSignal() as stop:
        yield assemble(Rank(options, Single(ALONE), torch.device("cpu"), 1, records, stop, watchdog))


def made_up_data(scratch: Path, samples: int, side: int) -> Path:
    from PIL import Image

    from hpcai.staging.pack import pack

    generator = np.random.default_rng(0)
    for split, count in (("train", samples), ("val", 10)):
        for number in range(count):
            path = scratch / "images" / split / str(number % 10) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    pack(scratch / "images", scratch / "packed", name="made-up")
    return scratch / "packed"


def tell(result: dict[str, Any]) -> None:
    print(RESULT + json.dumps(result), flush=True)


# --- in the program that starts them ----------------------------------------------------------------------


def start_ranks(variant: str, settings: Settings) -> Round:
    here = Path(sys.executable).parent
    env = {**os.environ, "PATH": os.pathsep.join([str(here), os.environ["PATH"]]), **VARIANTS[variant].env}
    mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
    return Round(**result_of([*mpirun, *worker(variant, settings)], env))


def worker(role: str, settings: Settings) -> list[str]:
    return [
        sys.executable,
        str(Path(__file__).resolve()),
        "--worker",
        role,
        "--settings",
        json.dumps(vars(settings)),
    ]


def result_of(argv: list[str], env: dict[str, str]) -> dict[str, Any]:
    done = shell.run(argv, timeout_s=900, env=env)
    lines = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    result: dict[str, Any] = json.loads(lines[-1].removeprefix(RESULT))
    return result


def measure(names: list[str], settings: Settings, rounds: int) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            found[name].append(start_ranks(name, settings))
        shown = "  ".join(f"{name} {found[name][-1].step_s * 1000:.0f} ms" for name in names)
        print(f"round {number + 1}/{rounds}  {shown}", file=sys.stderr, flush=True)
    return found


def interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and the 95 % bootstrap interval of the median."""
    sample = np.random.default_rng(0).choice(np.asarray(values), (10_000, len(values)))
    low, high = np.percentile(np.median(sample, axis=1), [2.5, 97.5])
    return statistics.median(values), float(low), float(high)


def interval_text(values: list[float]) -> str:
    median, low, high = interval(values)
    return f"{median:.3f} [{low:.3f}, {high:.3f}]"


def ratios_to(base: str, name: str, found: dict[str, list[Round]], what: str = "step_s") -> list[float]:
    """Throughput of `name` over that of `base`, round by round."""
    return [getattr(b, what) / getattr(n, what) for b, n in zip(found[base], found[name], strict=True)]


def table(found: dict[str, list[Round]], settings: Settings) -> str:
    lines = [
        "| variant | images/s, median (min to max) | throughput / ddp, 95 % | CPU ms/step | what |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        speeds = [2 * settings.batch_size / each.step_s for each in rounds]
        cpu_ms = statistics.median(each.cpu_s for each in rounds) * 1000
        ratio = interval_text(ratios_to("ddp", name, found))
        lines.append(
            f"| {name} | {statistics.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f}) | {ratio} "
            f"| {cpu_ms:.0f} | {VARIANTS[name].what} |"
        )
    return "\n".join(lines)


def report(found: dict[str, list[Round]], loop: dict[str, Any], settings: Settings, command: str) -> str:
    from hpcai.train.records import machine, versions

    facts = {**machine(), **versions()}
    commit = shell.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], timeout_s=30
    ).stdout.strip()
    rounds = len(found["ddp"])
    raw = {name: [vars(each) for each in values] for name, values in found.items()}
    return f"""# Horovod against torch DDP (Gloo), two ranks of one thread each

{datetime.now(timezone.utc).date()}, commit {commit}, `{command}`

{settings.model}, {settings.image_size} px, batch {settings.batch_size} per rank, {settings.precision}.
Weights in channels_last on both sides (the `stock` variants: contiguous). {settings.steps} steps after
{settings.warm_up} to warm up, n = {rounds} interleaved rounds; ratios are medians of those within a round.

{facts["cpu"]}, {facts["cores"]} cores, Linux {facts["kernel"]}, load at the end {os.getloadavg()[0]:.1f};
torch {facts["torch"]}, Python {facts["python"]}.

{table(found, settings)}

Our loop over bare forward, backward and step, one process, n = {len(loop["ratios"])} rounds of
{settings.steps} steps: time {interval_text(loop["ratios"])}, CPU time {interval_text(loop["cpu_ratios"])}.

Every round: `{json.dumps(raw)}`
"""


def verdict(found: dict[str, list[Round]]) -> bool:
    median, low, high = interval(ratios_to("ddp", "horovod", found))
    reached = median >= LEAST_RATIO and high >= LEAST_UPPER_END
    print(
        f"Horovod / DDP: {median:.3f}, 95 % {low:.3f} to {high:.3f}; wanted: at least {LEAST_RATIO}, "
        f"upper end at least {LEAST_UPPER_END}: {'ok' if reached else 'NOT REACHED'}"
    )
    return reached


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=12, help="timed steps per round and variant")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16, help="per rank")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--also", nargs="+", default=[], choices=["all", *VARIANTS], help="further variants")
    parser.add_argument("--records", type=Path, default=ROOT / "benchmarks" / "records")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    given = parse_arguments()
    if given.worker == "loop":
        loop_main(Settings(**given.settings), given.rounds)
        return 0
    if given.worker:
        rank_main(given.worker, Settings(**given.settings))
        return 0
    settings = Settings(
        given.model, given.image_size, given.batch_size, given.precision, given.steps, warm_up=3
    )
    loop = result_of([*worker("loop", settings), "--rounds", str(given.rounds)], dict(os.environ))
    settings = Settings(**{**vars(settings), "precision": loop["precision"]})
    also = list(VARIANTS) if "all" in given.also else given.also
    names = list(dict.fromkeys(["ddp", "horovod", *also]))
    found = measure(names, settings, given.rounds)
    command = " ".join(["python", "benchmarks/horovod_vs_ddp.py", *sys.argv[1:]])
    text = report(found, loop, settings, command)
    name = f"horovod_vs_ddp_{os.cpu_count()}cores_{datetime.now(timezone.utc).date()}.md"
    given.records.mkdir(parents=True, exist_ok=True)
    (given.records / name).write_text(text)
    print(text)
    return 0 if verdict(found) else 1


if __name__ == "__main__":
    sys.exit(main())
