"""A run that is followed, as one plain line per change. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.cli import words
from hpcai.launch.follow import Snapshot, Staged
from hpcai.units import about_bytes

PROGRESS_EVERY_S = 60.0
_PHASES = {
    "staging": "the data is being staged",
    "first step": "the first step is being prepared",
    "training": "the first step is done; training goes on",
    "ending": "the job is ending",
}


class Narrator:
    """Tells a run, snapshot after snapshot."""

    def __init__(self) -> None:
        self._before: Snapshot | None = None
        self._last_progress = float("-inf")

    def tell(self, now: Snapshot) -> list[str]:
        """What is new, a line each; nothing when nothing that a person waits for has changed."""
        before = self._before or Snapshot(now=now.now)
        self._before = now
        lines = [*_course(before, now)]
        if self._is_worth_telling(before, now):
            self._last_progress = now.now
            lines.append(progress(now))
        if now.phase == "ending" != before.phase:
            lines.append(_PHASES["ending"])
        return [f"{words.clock(now.now)}  {line}" for line in lines]

    def _is_worth_telling(self, before: Snapshot, now: Snapshot) -> bool:
        """After each evaluation, and once a minute between them."""
        if not now.step or (now.step == before.step and now.evaluations == before.evaluations):
            return False
        return now.evaluations != before.evaluations or now.now - self._last_progress >= PROGRESS_EVERY_S


def _course(before: Snapshot, now: Snapshot) -> Iterator[str]:
    if now.silent_s and not before.silent_s:
        yield f"Slurm has not answered for {words.span(now.silent_s)}; asking on"
    elif before.silent_s and not now.silent_s:
        yield "Slurm answers again"
    for number, cause in now.ended_attempts[len(before.ended_attempts) :]:
        yield f"attempt {number} {words.cause(cause)}; Slurm starts the job again"
    begins = now.phase in ("waiting", "starting") and (now.words, now.phase) != (before.words, before.phase)
    if begins and now.words:
        yield f"the job {now.words}"
    if _has_begun(now) and not (_has_begun(before) and before.attempt == now.attempt):
        again = f"attempt {now.attempt} " if now.attempt else ""
        yield f"{again}started on {now.node_list}"
    if now.phase == "staging" != before.phase:
        yield _PHASES["staging"]
    known = set(before.staged) if before.attempt == now.attempt else set()
    for staged in now.staged:
        if staged not in known:
            yield staging(staged)
    if now.phase in ("first step", "training") and _first_time(before, now):
        yield _PHASES[now.phase]
    if now.resumed_step is not None and now.resumed_step != before.resumed_step:
        yield f"training goes on from step {now.resumed_step}"


def _has_begun(snapshot: Snapshot) -> bool:
    return snapshot.phase not in ("submitted", "waiting", "starting") and bool(snapshot.node_list)


def _first_time(before: Snapshot, after: Snapshot) -> bool:
    """Not when training merely goes on after an evaluation."""
    if before.attempt != after.attempt:
        return True
    return before.phase != after.phase and before.phase not in ("evaluating", "saving", "training")


def staging(staged: Staged) -> str:
    """One node's data: `n1 has digits: 3.1 MB from Blob in 0.4 s`."""
    if staged.from_blob_bytes:
        how = f"{about_bytes(staged.from_blob_bytes)} from Blob in {words.span(staged.seconds)}"
    else:
        how = f"{about_bytes(staged.bytes)}, there from an earlier run"
    return f"{staged.node} has {staged.data}: {how}"


def progress(now: Snapshot) -> str:
    """Where training stands: `epoch 3/12  step 120  loss 0.41  top-1 0.912  35.2 images/s  1 min left`."""
    parts = []
    if now.epoch is not None:
        parts.append(f"epoch {now.epoch}/{now.epochs}" if now.epochs else f"epoch {now.epoch}")
    if now.step is not None:
        parts.append(f"step {now.step}")
    if now.loss is not None:
        parts.append(f"loss {now.loss:.4f}")
    if now.top1 is not None:
        parts.append(f"top-1 {now.top1:.4f}")
    if now.images_per_s:
        parts.append(f"{now.images_per_s[-1]:.1f} images/s")
    if now.left_s is not None:
        parts.append(f"{words.span(now.left_s)} left")
    return "  ".join(parts)
