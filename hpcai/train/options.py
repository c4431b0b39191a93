"""The command line of the trainer as one frozen value."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Names only, so that `--help` need not wait for torch.
MODELS = ("resnet18", "resnet50")
RECIPES = ("small", "imagenet")
COMMS = ("auto", "horovod", "ddp", "single")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Options:
    """What one training was asked for. None means: what the recipe or the launcher says."""

    data: Path
    model: str
    image_size: int
    batch_size: int
    epochs: int
    recipe: str
    base_lr: float | None
    flip: bool | None
    comm: str
    precision: str
    threads: int | None
    cache_mib: int
    seed: int
    log_every_steps: int
    checkpoint_every_steps: int | None
    checkpoint_every_s: float
    resume: bool
    stall_timeout_s: float
    run_dir: Path
    outputs: Path
    attempt: int


def parse_options(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """The options of a command line; wrong usage ends the process with status 2, as argparse does."""
    parser = _parser()
    given = parser.parse_args(argv)
    run_dir = Path(given.run_dir or environ.get("HPCAI_RUN_DIR", "hpcai-run"))
    outputs = Path(environ.get("HPCAI_OUTPUTS", run_dir / "outputs"))
    if given.run_dir:
        outputs = run_dir / "outputs"
    attempt = environ.get("HPCAI_ATTEMPT", "0")
    if not (attempt.isascii() and attempt.isdecimal()):
        parser.error(f"HPCAI_ATTEMPT is {attempt!r}, not a whole number")
    values = {name: value for name, value in vars(given).items() if name != "run_dir"}
    return Options(**values, run_dir=run_dir, outputs=outputs, attempt=int(attempt))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hpcai.train",
        description="Train a ResNet on a packed data set, on one process or on as many as were launched.",
        epilog="Metrics, checkpoint and environment go to $HPCAI_RUN_DIR and $HPCAI_OUTPUTS, which hpcai's "
        "job scripts set. A checkpoint that is there is resumed at its exact step. Exit status: 0 done, "
        "2 wrong usage, 4 the loss or a weight is no number, 5 no such data, 6 another rank was lost, "
        "7 damaged data, 143 ended by SIGTERM after a checkpoint. SIGUSR1 saves a checkpoint, and the "
        "training goes on.",
        allow_abbrev=False,
    )
    _add_what(parser.add_argument_group("what to train"))
    _add_learning(parser.add_argument_group("how it learns"))
    _add_machine(parser.add_argument_group("how it runs"))
    _add_record(parser.add_argument_group("checkpoints and records"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    _add(group, "--data", "folder with manifest.json and shards", type=Path, required=True, metavar="DIR")
    _add(group, "--model", "architecture", choices=MODELS, default="resnet50")
    _add(group, "--image-size", "side of the input", type=_int(32, 1024), default=224, metavar="PX")
    _add(group, "--batch-size", "pictures per rank and step", type=_int(1, 65536), default=32, metavar="N")
    _add(group, "--epochs", "passes over the data", type=_int(1, 100_000), default=6, metavar="N")


def _add_learning(group: argparse._ArgumentGroup) -> None:
    mirror = argparse.BooleanOptionalAction
    _add(group, "--recipe", "preset, see hpcai/train/recipe.py", choices=RECIPES, default="small")
    _add(
        group,
        "--base-lr",
        "peak rate per global batch of 256, else the recipe's",
        type=_positive,
        metavar="LR",
    )
    _add(group, "--flip", "mirror half of the training pictures, else as the recipe says", action=mirror)
    _add(group, "--seed", "of weights, order and crops", type=_int(0, 2**31), default=0, metavar="N")


def _add_machine(group: argparse._ArgumentGroup) -> None:
    cpus = "per rank, else the CPUs allotted to it"
    _add(group, "--comm", "how ranks average gradients", choices=COMMS, default="auto")
    _add(group, "--precision", "auto tries both; fp32 is TF32 on a GPU", choices=PRECISIONS, default="auto")
    _add(group, "--threads", cpus, type=_int(1, 1024), metavar="N")
    _add(group, "--cache-mib", "for decoded pictures", type=_int(0, 2**20), default=1024, metavar="MIB")
    _add(group, "--stall-timeout-s", "without a step, then end", type=_wait_s, default=600.0, metavar="S")


def _add_record(group: argparse._ArgumentGroup) -> None:
    resume = argparse.BooleanOptionalAction
    _add(group, "--log-every-steps", "window of metrics", type=_int(1, 10**6), default=10, metavar="N")
    _add(group, "--checkpoint-every-steps", "besides the time", type=_int(1, 10**9), metavar="N")
    _add(group, "--checkpoint-every-s", "and at the end", type=_positive, default=60.0, metavar="S")
    _add(group, "--resume", "from the checkpoint that is there", action=resume, default=True)
    _add(group, "--run-dir", "instead of $HPCAI_RUN_DIR, else ./hpcai-run", metavar="DIR")


def _add(group: argparse._ArgumentGroup, flag: str, words: str, **how: Any) -> None:
    """An option whose help ends with its default, where it has one."""
    group.add_argument(flag, help=f"{words} (%(default)s)" if "default" in how else words, **how)


def _int(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}.")
        return value

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0.")
    return value


def _wait_s(text: str) -> float:
    """Seconds to wait, at most 30 years: threads and torch count in nanoseconds, which overflow."""
    return min(_positive(text), 1e9)
