from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpcai.errors import NotFoundError, StageError, ToolError, UsageError
from hpcai.runs.metrics import read_values
from hpcai.runs.record import Run
from hpcai.train import checkpoint
from hpcai.train.loop import Training
from hpcai.train.options import Options, parse_options
from hpcai.train.records import Records
from hpcai.train.run import _device, run
from hpcai.train.stopping import Stopped
from hpcai.train.world import ALONE, World
from tests.waiting import until

# Whole trainings, seconds each.
pytestmark = pytest.mark.real

DEADLINE_S = 120.0

TINY = [
    *("--model", "resnet18", "--image-size", "32", "--batch-size", "4", "--epochs", "2", "--threads", "1"),
    *("--precision", "fp32", "--log-every-steps", "2", "--checkpoint-every-steps", "4", "--base-lr", "0.5"),
]


def options(data: Path, run_dir: Path, *more: str) -> Options:
    return parse_options(["--data", str(data), "--run-dir", str(run_dir), *TINY, *more], {})


def train(data: Path, run_dir: Path, *more: str, records: type[Records] = Records) -> Run:
    chosen = options(data, run_dir, *more)
    run(chosen, ALONE, records(run_dir, 0, chosen.attempt))
    return Run(run_dir)


def interrupted_at(step: int, action: Callable[[], None]) -> type[Records]:
    class Interrupting(Records):
        def log(self, at: int, **values: float | None) -> None:
            super().log(at, **values)
            if at == step and "loss" in values:
                action()

    return Interrupting


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that nothing interrupted."""
    return train(tiny_data, tmp_path_factory.mktemp("whole"))


def test_a_training_leaves_its_record(whole: Run) -> None:
    metrics = whole.metrics()
    assert set(metrics) == {
        *("loss", "lr", "images_per_s", "data_wait_s", "epoch", "epochs", "top1", "val_loss"),
    }
    assert metrics["loss"].steps == [2, 4, 6, 8, 10, 12]
    assert metrics["top1"].steps == [6, 12]
    assert metrics["epoch"].values[-1] == 2
    assert all(0 <= value <= 1 for value in metrics["top1"].values)
    environment = whole.environment()
    assert environment["torch"] == torch.__version__
    assert (environment["ranks"], environment["precision"], environment["comm"]) == (1, "fp32", "single")
    # Not `launcher`, which in a job says how ranks are to be started.
    assert environment["started_by"] == "none" and "launcher" not in environment


def test_the_marks_tell_the_course(whole: Run) -> None:
    lines = [json.loads(line) for line in whole.paths.metrics().read_text().splitlines()]
    marks = [(line["name"][5:], line["step"]) for line in lines if line["name"].startswith("mark/")]
    assert marks == [
        *(("first_step", 1), ("saving", 4), ("saved", 4), ("evaluating", 6), ("evaluated", 6)),
        *(("saving", 8), ("saved", 8), ("saving", 12), ("saved", 12)),
        *(("trained", 12), ("evaluating", 12), ("evaluated", 12), ("saving", 12), ("saved", 12)),
    ]


def test_after_sigterm_the_next_attempt_ends_as_if_nothing_had_happened(
    tiny_data: Path, tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the end of a window, so that windows are the same.
    monkeypatch.setattr("hpcai.train.loop._ASK_EVERY_S", 1e6)
    stop = interrupted_at(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        train(tiny_data, tmp_path, "--checkpoint-every-steps", "1000", records=stop)
    assert stopped.value.exit_status == 143
    assert "saved at step 10" in str(stopped.value)
    again = train(tiny_data, tmp_path)
    assert again.metrics()["loss"].values == whole.metrics()["loss"].values
    assert again.metrics()["top1"].values == whole.metrics()["top1"].values
    ends = [checkpoint.load(each.paths.outputs / checkpoint.FILE_NAME) for each in (again, whole)]
    assert ends[0].position == ends[1].position
    for name, weights in ends[0].model.items():
        assert torch.equal(weights, ends[1].model[name])
    for name, velocity in ends[0].momentum.items():
        assert torch.equal(velocity, ends[1].momentum[name])


class SignalledAtFirstStep(Records):
    number = signal.SIGTERM

    def mark(self, what: str, step: int) -> None:
        super().mark(what, step)
        if what == "first_step":
            os.kill(os.getpid(), self.number)


def test_sigterm_need_not_wait_for_the_end_of_a_window(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcai.train.loop._ASK_EVERY_S", 0.0)
    often = ["--log-every-steps", "1000", "--checkpoint-every-steps", "1000"]
    with pytest.raises(Stopped, match="saved at step 1;"):
        train(tiny_data, tmp_path, *often, records=SignalledAtFirstStep)


def test_the_ranks_ask_each_other_seldom(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    ask = Training._asked

    def counted(training: Training) -> bool:
        before = training._ask_at
        answer = ask(training)
        asked.append(training._ask_at != before)
        return answer

    monkeypatch.setattr(Training, "_asked", counted)
    monkeypatch.setattr("hpcai.train.loop._ASK_EVERY_S", 1e6)
    train(tiny_data, tmp_path, "--epochs", "1", "--log-every-steps", "1000")
    assert asked.count(True) == 1


def test_a_real_process_saves_at_sigusr1_and_goes_on_to_its_end(tiny_data: Path, tmp_path: Path) -> None:
    argv = [*("--data", str(tiny_data), "--run-dir", str(tmp_path)), *TINY]
    more = ["--epochs", "300", "--checkpoint-every-steps", "1000000", "--checkpoint-every-s", "1e9"]
    program = [sys.executable, "-m", "hpcai.train", *argv, *more]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def has(name: str) -> bool:
        assert process.poll() is None, process.communicate()[1]
        return any(line.name == name for line in read_values(Run(tmp_path).paths.metrics()))

    try:
        until(lambda: has("mark/first_step"), DEADLINE_S, "the training has begun")
        process.send_signal(signal.SIGUSR1)
        until(lambda: has("mark/saved"), DEADLINE_S, "the checkpoint is there")
        at = checkpoint.load(tmp_path / "outputs" / checkpoint.FILE_NAME).position.step
        later = lambda: max(Run(tmp_path).metrics()["loss"].steps) > at  # noqa: E731
        until(later, DEADLINE_S, "the training goes on")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 143, err


@pytest.mark.parametrize(("gpus", "chosen"), [(1, 0), (8, 5)])
def test_a_rank_takes_its_gpu(gpus: int, chosen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    monkeypatch.setattr("torch.backends.cudnn.benchmark", False)
    matmuls: list[str] = []
    monkeypatch.setattr("torch.set_float32_matmul_precision", matmuls.append)
    assert _device(World(5, 8, 5, 8, "n1", "slurm")) == torch.device("cuda", chosen)
    assert taken == [torch.device("cuda", chosen)]
    assert (torch.backends.cudnn.benchmark, matmuls) == (True, ["high"])


def test_a_gpu_whose_memory_is_not_enough_names_the_batch_size(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(_: Training) -> None:
        # torch's own words.
        raise torch.cuda.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which"
        )

    monkeypatch.setattr(Training, "run", run_out)
    with pytest.raises(UsageError) as raised:
        train(tiny_data, tmp_path)
    assert str(raised.value).splitlines() == [
        "The GPU's memory is not enough: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "A --batch-size below 4 or a smaller --image-size needs less.",
    ]


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UsageError, match="8 processes on this node and 4 GPUs"):
        _device(World(5, 8, 5, 8, "n1", "slurm"))


def test_a_finished_training_is_not_trained_again(whole: Run, tiny_data: Path) -> None:
    before = whole.metrics()["loss"]
    train(tiny_data, whole.path)
    assert whole.metrics()["loss"] == before


def test_a_damaged_checkpoint_costs_one_interval(tiny_data: Path, tmp_path: Path, whole: Run) -> None:
    class Cut(Exception):
        pass

    def cut() -> None:
        path = tmp_path / "outputs" / checkpoint.FILE_NAME
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-100])
        raise Cut

    with pytest.raises(Cut):
        train(tiny_data, tmp_path, records=interrupted_at(10, cut))
    again = train(tiny_data, tmp_path)
    resumed = [mark for mark in again.marks() if mark.name == "resumed"]
    assert [mark.step for mark in resumed] == [4]
    assert again.metrics()["loss"].values == whole.metrics()["loss"].values


def test_a_checkpoint_of_another_training_is_not_gone_on_with(
    whole: Run, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="image_size 32 there, 40 now"):
        train(tiny_data, whole.path, "--image-size", "40")
    with pytest.raises(UsageError, match="precision 'fp32' there, 'bf16' now"):
        train(tiny_data, whole.path, "--precision", "bf16")
    train(tiny_data, whole.path, "--precision", "auto")
    assert whole.environment()["precision"] == "fp32"
    assert capsys.readouterr().err == ""


def test_a_loss_that_is_no_number_ends_the_training_unsaved(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="The loss is nan in the last steps up to 2: not saved"):
        train(tiny_data, tmp_path, "--base-lr", "1e30", "--checkpoint-every-steps", "100")
    assert not (tmp_path / "outputs").exists()


def test_weights_that_are_no_numbers_are_not_saved_and_the_next_step_told_works(
    tiny_data: Path, tmp_path: Path
) -> None:
    often = ["--base-lr", "1e4", "--log-every-steps", "1", "--checkpoint-every-steps", "1"]
    with pytest.raises(ToolError, match=r"not saved(.|\n)*smaller --base-lr(.|\n)*--no-resume"):
        train(tiny_data, tmp_path, *often)
    kept = [checkpoint.load(path) for path in (tmp_path / "outputs").glob("*.pt")]
    for one in kept:
        assert all(tensor.isfinite().all() for tensor in (*one.model.values(), *one.momentum.values()))
    train(tiny_data, tmp_path, "--base-lr", "0.5", "--no-resume")
    assert checkpoint.load(tmp_path / "outputs" / checkpoint.FILE_NAME).position.step == 12


def test_weights_that_are_no_numbers_after_the_last_step_end_the_training(
    tiny_data: Path, tmp_path: Path
) -> None:
    # One step, whose loss is that of the first weights.
    with pytest.raises(ToolError, match="Not all weights are numbers after step 1: not saved"):
        train(tiny_data, tmp_path, "--epochs", "1", "--batch-size", "27", "--base-lr", "1e300")
    assert not list(tmp_path.glob("outputs/*"))


def test_a_probe_chooses_the_precision(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = train(tiny_data, tmp_path, "--epochs", "1", "--precision", "auto")
    chosen = found.environment()["precision"]
    assert chosen in ("bf16", "fp32")
    assert f"precision {chosen}: a step takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        (["--data", "/nowhere"], NotFoundError, "holds no data set"),
        (["--batch-size", "28"], UsageError, "--batch-size 27 is the largest that fits"),
    ],
)
def test_what_cannot_be_trained_says_why(
    tiny_data: Path, tmp_path: Path, more: list[str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        train(tiny_data, tmp_path, *more)


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file where the folder should be")
    with pytest.raises(StageError, match=r"cannot be written(.|\n)*then the same command goes on"):
        train(tiny_data, tmp_path, "--no-resume")


def test_a_save_that_works_asks_for_nothing_else_of_the_record(tiny_data: Path, tmp_path: Path) -> None:
    class Unasked(Records):
        def again(self) -> str:
            raise AssertionError("only a full disk needs it")

    made = train(tiny_data, tmp_path, "--epochs", "1", records=Unasked)
    assert (made.paths.outputs / checkpoint.FILE_NAME).is_file()


@pytest.mark.parametrize(("where", "by"), [("slurm", "sbatch"), ("local", "bash")])
def test_a_full_disk_names_what_goes_on_with_this_very_run(
    where: str, by: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "a run"
    run_dir.mkdir()
    (run_dir / "script.sbatch").write_text("#!/bin/bash\n")
    (run_dir / "events.jsonl").write_text(json.dumps({"event": "submitted", "where": where}) + "\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StageError) as raised:
        train(tiny_data, run_dir)
    assert f"then `{by} '{run_dir}/script.sbatch'` goes on from what was saved" in str(raised.value)
