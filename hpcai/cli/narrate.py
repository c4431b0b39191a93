"""A run that is followed, as one plain line per change. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hpcai.cli import words
from hpcai.launch.follow import Snapshot, Staged

_PHASES = {
    "staging": "the data is being staged",
    "first step": "the data is there; the first step is being prepared",
    "training": "the first step is done; training goes on",
    "ending": "the job is ending",
}


def changes(before: Snapshot | None, after: Snapshot) -> list[str]:
    """What is new, a line each; nothing when nothing that a person waits for has changed."""
    before = before or Snapshot(now=after.now)
    return [f"{words.clock(after.now)}  {line}" for line in _changes(before, after)]


def _changes(before: Snapshot, after: Snapshot) -> Iterator[str]:
    if after.silent_s and not before.silent_s:
        yield f"Slurm has not answered for {words.span(after.silent_s)}; asking on"
    elif before.silent_s and not after.silent_s:
        yield "Slurm answers again"
    for number, cause in after.ended_attempts[len(before.ended_attempts) :]:
        yield f"attempt {number} {words.cause(cause)}; Slurm starts the job again"
    if after.phase in ("waiting", "starting") and (after.words, after.phase) != (before.words, before.phase):
        yield f"the job {after.words}"
    if _has_begun(after) and not (_has_begun(before) and before.attempt == after.attempt):
        again = f"attempt {after.attempt} " if after.attempt else ""
        yield f"{again}started on {after.node_list}"
    if after.phase != before.phase and after.phase == "staging":
        yield _PHASES["staging"]
    known = set(before.staged) if before.attempt == after.attempt else set()
    for staged in after.staged:
        if staged not in known:
            yield staging(staged)
    if (
        after.phase != before.phase
        and after.phase in ("first step", "training")
        and _first_time(before, after)
    ):
        yield _PHASES[after.phase]
    if after.resumed_step is not None and after.resumed_step != before.resumed_step:
        yield f"training goes on from step {after.resumed_step}"
    if after.epoch is not None and (after.epoch, after.attempt) != (before.epoch, before.attempt):
        yield progress(after)
    if after.phase == "ending" != before.phase:
        yield _PHASES["ending"]


def _has_begun(snapshot: Snapshot) -> bool:
    return snapshot.phase not in ("submitted", "waiting", "starting") and bool(snapshot.node_list)


def _first_time(before: Snapshot, after: Snapshot) -> bool:
    """Not when training merely goes on after an evaluation."""
    if before.attempt != after.attempt:
        return True
    return before.phase != after.phase and before.phase not in ("evaluating", "saving", "training")


def staging(staged: Staged) -> str:
    """One node's data: `n1 has digits: 3.1 MiB from Blob in 0.4 s`."""
    if staged.from_blob_bytes:
        how = f"{words.size(staged.from_blob_bytes)} from Blob in {words.span(staged.seconds)}"
    else:
        how = f"{words.size(staged.bytes)}, there from an earlier run"
    return f"{staged.node} has {staged.data}: {how}"


def progress(now: Snapshot) -> str:
    """Where training stands: `epoch 3/12  step 120  loss 0.41  top-1 0.912  35.2 images/s  1 min left`."""
    parts = [f"epoch {now.epoch}/{now.epochs}" if now.epochs else f"epoch {now.epoch}"]
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
