"""The training loop: epochs of steps, with windows of metrics, checkpoints and evaluations between them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpcai.errors import ToolError
from hpcai.train import checkpoint as checkpoints
from hpcai.train.checkpoint import Checkpoint, Position, Setting
from hpcai.train.comm import together
from hpcai.train.evaluate import average_running_statistics, evaluate
from hpcai.train.loader import Batch, Loader, normalised
from hpcai.train.meter import NOTHING, Meter, Window
from hpcai.train.precision import autocast
from hpcai.train.rank import Rank
from hpcai.train.recipe import Recipe, Schedule, momentum_of, set_lr
from hpcai.train.sampler import Sampler
from hpcai.train.stopping import Stopped

_ASK_EVERY_S = 2.0


@dataclass(frozen=True)
class Parts:
    """Everything that a training works with; `trained` is the module whose forward training calls."""

    rank: Rank
    model: nn.Module
    trained: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    schedule: Schedule
    sampler: Sampler
    training: Loader
    held_out: Loader
    setting: Setting
    precision: str


class Training:
    """One training, from a position to its end."""

    def __init__(self, parts: Parts, position: Position) -> None:
        self._parts = parts
        self._rank = parts.rank
        self._position = position
        self._meter = Meter()
        self._epoch = NOTHING
        self._saved_at = self._asked_at = time.monotonic()
        self._asked_step, self._ask_at = position.step, position.step + 1

    def run(self) -> None:
        """Trains, evaluates after every epoch, and saves at the end.

        Raises Stopped after SIGTERM, when everything is saved.
        """
        epochs, position = self._rank.options.epochs, self._position
        while position.epoch < epochs:
            self.train_epoch()
            if position.epoch == epochs - 1:
                self._rank.records.mark("trained", position.step)
            self._evaluate()
            position.begin_epoch(position.epoch + 1)
        self._save()

    def train_epoch(self) -> None:
        """The steps that are left of the position's epoch."""
        parts, position = self._parts, self._position
        self._epoch = NOTHING
        self._meter.restart()
        batches = parts.training.training(parts.sampler, position.epoch, position.step_in_epoch)
        for _ in range(position.step_in_epoch, parts.sampler.steps_per_epoch):
            self._rank.watchdog.beat(f"at training step {position.step + 1}")
            with self._meter.waiting():
                batch = next(batches)
            loss = self._step(batch)
            self._meter.add(loss, len(batch[1]))
            position.step += 1
            position.step_in_epoch += 1
            if self._meter.steps == 1:
                self._rank.records.mark("first_step", position.step)
            if self._window_ends() or self._asked():
                self._close_window()

    def _step(self, batch: Batch) -> Tensor:
        """The loss of one optimizer step on this rank's part of the global batch."""
        parts = self._parts
        pictures_nhwc, labels = batch
        # A model with dropout draws the same numbers when it goes on from a checkpoint.
        torch.manual_seed(hash((self._rank.options.seed, self._position.step, self._rank.number)))
        set_lr(parts.optimizer, parts.schedule.lr(self._position.step))
        with autocast(parts.precision, self._rank.device):
            logits_nk = parts.trained(normalised(pictures_nhwc, self._rank.device))
            labels_n = labels.to(self._rank.device, non_blocking=True)
            loss = functional.cross_entropy(logits_nk, labels_n, label_smoothing=parts.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self._rank.comm.finish_gradients()
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _window_ends(self) -> bool:
        position = self._position
        return (
            position.step_in_epoch % self._rank.options.log_every_steps == 0
            or position.step_in_epoch == self._parts.sampler.steps_per_epoch
            or self._checkpoint_step()
        )

    def _checkpoint_step(self) -> bool:
        every = self._rank.options.checkpoint_every_steps
        return every is not None and self._position.step % every == 0

    def _asked(self) -> bool:
        """Whether a signal has come to any rank. The ranks ask each other every few seconds, however long a
        window is: Slurm kills 30 s after SIGTERM."""
        if self._position.step < self._ask_at:
            return False
        stop, now = self._rank.stop, time.monotonic()
        # Whole milliseconds, whose sum is the same to the last bit on every rank, as the next step must be.
        mine = [int((now - self._asked_at) * 1000), int(stop.came or stop.save_came)]
        ms, asked = self._rank.comm.sum(torch.tensor(mine, dtype=torch.int64)).tolist()
        step_ms = ms / self._rank.size / (self._position.step - self._asked_step)
        self._asked_at, self._asked_step = now, self._position.step
        self._ask_at = self._position.step + max(1, int(_ASK_EVERY_S * 1000 / max(1.0, step_ms)))
        return bool(asked)

    def _close_window(self) -> None:
        """Reports the window; the ranks agree with the same call whether to save and whether to stop."""
        position = self._position
        overdue = time.monotonic() - self._saved_at >= self._rank.options.checkpoint_every_s
        window, (stop, save) = self._meter.share(
            self._rank.comm,
            self._rank.stop.came,
            self._rank.stop.save_came or (overdue and self._rank.number == 0),
        )
        self._require_finite(window)
        position.loss_sum += window.loss_sum
        position.images += window.images
        self._epoch += window
        self._report(window)
        if stop or save or self._checkpoint_step():
            self._save()
        if stop:
            raise Stopped(f"SIGTERM: saved at step {position.step}; the next attempt goes on from there.")
        self._meter.restart()

    def _require_finite(self, window: Window) -> None:
        if not math.isfinite(window.loss_sum):
            raise self._diverged(f"The loss is {window.loss_sum} in the last steps up to")

    def _diverged(self, what: str) -> ToolError:
        return ToolError(
            f"{what} {self._position.step}: not saved.",
            next_step="A smaller --base-lr is the usual cure; with --no-resume it starts anew.",
        )

    def _report(self, window: Window) -> None:
        position = self._position
        self._rank.records.log(
            position.step,
            loss=window.loss,
            lr=self._parts.schedule.lr(position.step - 1),
            images_per_s=window.images_per_s,
            data_wait_s=window.data_wait_s,
            epoch=position.step / self._parts.sampler.steps_per_epoch,
        )

    def _evaluate(self) -> None:
        parts, position = self._parts, self._position
        beat = partial(self._rank.watchdog.beat, f"evaluating epoch {position.epoch + 1}")
        beat()
        self._rank.records.mark("evaluating", position.step)
        average_running_statistics(self._rank.comm, parts.model)
        world = self._rank.comm.world
        batches = parts.held_out.held_out(self._rank.options.batch_size, world.rank, world.size)
        accuracy = evaluate(self._rank.comm, parts.model, batches, self._rank.device, parts.precision, beat)
        position.top1 = accuracy.top1
        self._rank.records.log(position.step, top1=accuracy.top1, val_loss=accuracy.loss)
        self._rank.records.mark("evaluated", position.step)
        self._say_epoch(accuracy.samples)

    def _say_epoch(self, held_out: int) -> None:
        parts, position = self._parts, self._position
        speed = self._epoch.images_per_s
        loss = position.loss_sum / position.images
        self._rank.records.say(
            f"epoch {position.epoch + 1}/{self._rank.options.epochs}  loss {loss:.4f}  "
            f"top-1 {position.top1:.4f} of {held_out}  {'-' if speed is None else f'{speed:.1f}'} images/s  "
            f"lr {parts.schedule.lr(position.step - 1):.4g}  data wait {self._epoch.data_wait_s:.2f} s"
        )

    def _save(self) -> None:
        parts, position = self._parts, self._position
        self._rank.stop.save_came = False
        self._rank.watchdog.beat(f"saving at step {position.step}")
        self._rank.records.mark("saving", position.step)
        average_running_statistics(self._rank.comm, parts.model)
        together(self._rank.comm, self._write if self._rank.number == 0 else lambda: None)
        self._rank.records.mark("saved", position.step)
        self._saved_at = time.monotonic()

    def _write(self) -> None:
        parts = self._parts
        momentum = momentum_of(parts.optimizer, parts.model)
        state = parts.model.state_dict()
        # A finite loss comes before the step that ruins the weights.
        tensors = [*state.values(), *momentum.values()]
        if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
            raise self._diverged("Not all weights are numbers after step")
        checkpoint = Checkpoint(parts.setting, replace(self._position), parts.precision, state, momentum)
        checkpoints.save(self._rank.options.outputs, checkpoint, self._rank.records.again)
