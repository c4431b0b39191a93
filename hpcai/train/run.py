"""Puts a training together on every rank, from its options to its last checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch
from torch import nn

from hpcai.errors import StageError, UsageError
from hpcai.train.checkpoint import Position, Setting
from hpcai.train.comm import PeerLost, connect, texts_by_rank, together
from hpcai.train.dataset import ImageSet, open_split
from hpcai.train.loader import Loader, normalised
from hpcai.train.loop import Parts, Training
from hpcai.train.options import Options
from hpcai.train.precision import probe
from hpcai.train.rank import Rank
from hpcai.train.recipe import RECIPES, Recipe, build_optimizer, schedule_of
from hpcai.train.records import Records, machine, node_name, versions
from hpcai.train.resnet import build_model
from hpcai.train.resume import find_checkpoint, restore
from hpcai.train.sampler import Sampler
from hpcai.train.stopping import StopSignal, Watchdog, end_at_once
from hpcai.train.world import World, allotted_cpus

MIB = 1024 * 1024


def run(options: Options, world: World, records: Records) -> None:
    """One whole training.

    Raises the errors of its parts, and Stopped after SIGTERM.
    """
    threads = options.threads or allotted_cpus(world)
    torch.set_num_threads(threads)
    device = _device(world)
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        end = partial(end_at_once, PeerLost.exit_status)
        who, alone = f"rank {world.rank}", world.size == 1
        watchdog = stack.enter_context(Watchdog(options.stall_timeout_s, who, end, alone=alone))
        comm = connect(options.comm, world, device, options.stall_timeout_s)
        stack.enter_context(comm.errors())
        stack.enter_context(_gpu_memory_is_named(options))
        rank = Rank(options, comm, device, threads, records, stop, watchdog)
        parts, position = assemble(rank)
        stack.callback(parts.training.close)
        stack.callback(parts.held_out.close)
        if position.epoch >= options.epochs:
            records.say(f"The checkpoint holds all {position.epoch} epochs (top-1 {position.top1}): done.")
        else:
            Training(parts, position).run()
        comm.close()


def assemble(rank: Rank) -> tuple[Parts, Position]:
    """Everything that the training of this rank works with, and where it begins; every rank must call it."""
    options = rank.options
    recipe = _recipe(options)
    setting, training_images, held_out_images = together(rank.comm, lambda: _open(rank, recipe))
    _require_same_data(rank, setting)
    training, held_out = (
        Loader(images, recipe, options.image_size, threads=rank.threads, pinned=rank.device.type == "cuda")
        for images in (training_images, held_out_images)
    )
    sampler = Sampler(len(training_images), options.batch_size, rank.number, rank.size, options.seed)
    model = _model(rank, setting)
    optimizer = build_optimizer(model, recipe)
    position, precision = restore(rank.comm, find_checkpoint(rank, setting), model, optimizer)
    trained = rank.comm.prepare(model)
    precision = precision or _choose_precision(rank, model, training, sampler)
    _describe(rank, setting, precision, sampler)
    _tell_start(rank, position)
    schedule = schedule_of(
        recipe,
        global_batch=setting.global_batch,
        steps_per_epoch=sampler.steps_per_epoch,
        epochs=options.epochs,
    )
    learning = (model, trained, optimizer, recipe, schedule)
    return Parts(rank, *learning, sampler, training, held_out, setting, precision), position


def _device(world: World) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.cuda.device_count() == 1:
        # Either one process per node, or the launcher has bound to each the one GPU that it sees.
        local_rank = 0
    elif world.local_size <= torch.cuda.device_count():
        local_rank = world.local_rank
    else:
        raise UsageError(
            f"There are {world.local_size} processes on this node and {torch.cuda.device_count()} GPUs.",
            next_step="Start one process per GPU (`ntasks_per_node`, `gpus_per_node`).",
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    # Every step has the same shapes, so that trying cuDNN's ways once pays; TF32 is ten bits less of an fp32.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return device


@contextmanager
def _gpu_memory_is_named(options: Options) -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise UsageError(
            f"The GPU's memory is not enough: {str(error).partition(' GPU ')[0].rstrip('.')}.",
            next_step=f"A --batch-size below {options.batch_size} or a smaller --image-size needs less.",
        ) from error


def _recipe(options: Options) -> Recipe:
    recipe = RECIPES[options.recipe]
    if options.base_lr is not None:
        recipe = replace(recipe, base_lr=options.base_lr)
    if options.flip is not None:
        recipe = replace(recipe, flip=options.flip)
    return recipe


def _model(rank: Rank, setting: Setting) -> nn.Module:
    torch.manual_seed(rank.options.seed)
    model = build_model(setting.model, len(setting.class_names)).to(rank.device)
    formatted: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return formatted


def _open(rank: Rank, recipe: Recipe) -> tuple[Setting, ImageSet, ImageSet]:
    options = rank.options
    cache_bytes = options.cache_mib * MIB // 2
    manifest, training = open_split(options.data, "train", cache_bytes)
    _, held_out = open_split(options.data, "val", cache_bytes)
    global_batch = options.batch_size * rank.size
    if len(training) < global_batch:
        raise UsageError(
            f"A global batch of {global_batch} ({options.batch_size} on each of {rank.size} ranks) is larger "
            f"than the {len(training)} training samples of {manifest.name!r}.",
            next_step=f"--batch-size {max(1, len(training) // rank.size)} is the largest that fits.",
        )
    setting = Setting(
        model=options.model,
        class_names=manifest.class_names,
        data_version=manifest.version,
        image_size=options.image_size,
        global_batch=global_batch,
        seed=options.seed,
        recipe=asdict(recipe),
        epochs=options.epochs,
    )
    return setting, training, held_out


def _require_same_data(rank: Rank, setting: Setting) -> None:
    """Each node has its own copy of the data: an old one must not train along."""
    ours = texts_by_rank(rank.comm, setting.data_version)
    if len(set(ours)) != 1:
        raise StageError(
            f"The ranks have different versions of the data: {', '.join(ours)}.",
            next_step="`hpcai data pull URL --version V` brings the same one to every node.",
        )


def _choose_precision(rank: Rank, model: nn.Module, training: Loader, sampler: Sampler) -> str:
    if rank.options.precision != "auto":
        return rank.options.precision
    pictures_nhwc, _ = next(training.training(sampler, epoch=0))
    found = probe(rank.comm, model, normalised(pictures_nhwc, rank.device))
    rank.records.say(
        f"precision {found.faster}: a step takes {found.bf16_s:.3f} s of computing in bf16, "
        f"{found.fp32_s:.3f} s in fp32"
    )
    return found.faster


def _tell_start(rank: Rank, position: Position) -> None:
    rank.records.log(position.step, epochs=rank.options.epochs)
    if position.step:
        rank.records.mark("resumed", position.step)
        rank.records.say(f"resumed at step {position.step}, epoch {position.epoch + 1}")


def _describe(rank: Rank, setting: Setting, precision: str, sampler: Sampler) -> None:
    world, comm = rank.comm.world, rank.comm
    nodes = texts_by_rank(comm, node_name())
    machines = texts_by_rank(comm, os.uname().nodename)
    rank.records.say(
        f"{setting.model} at {setting.image_size} px, {precision}, data {setting.data_version[:12]}: "
        f"{sampler.steps_per_epoch} steps per epoch of {rank.options.batch_size} x {world.size} pictures; "
        f"{comm.name}, {world.size} ranks on {world.num_nodes} nodes, {rank.threads} threads each"
    )
    rank.records.environment(
        {
            "hostnames": dict(zip(nodes, machines, strict=True)),
            "nodes_by_rank": nodes,
            **versions(),
            **machine(),
            "comm": comm.name,
            "started_by": world.launcher,
            "ranks": world.size,
            "threads_per_rank": rank.threads,
            "precision": precision,
            "memory_format": "channels_last",
            "data_version": setting.data_version,
        }
    )
