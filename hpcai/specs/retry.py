"""How often each cause of an end may put a job back into the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from hpcai.specs.fields import Model
from hpcai.specs.mistakes import Contradiction

Times = Annotated[int, Field(ge=0, le=1000)]
CAUSES = ("node_failure", "evicted", "preempted", "failed", "out_of_memory")


class RetrySpec(Model):
    """A budget per cause; None: as Slurm does without us (`failed` and `out_of_memory` end the job)."""

    node_failure: Times | None = None
    evicted: Times | None = None
    """Of nodes that Azure said it would take back; these count as no `node_failure`."""
    preempted: Times | None = None
    failed: Times | None = None
    out_of_memory: Times | None = None
    statuses: Annotated[tuple[Annotated[int, Field(ge=1, le=255)], ...], Field(strict=False)] = ()
    """The exit statuses that `failed` is about; none: all but 0."""

    @property
    def budgets(self) -> dict[str, int]:
        """The causes that were given, with their times."""
        return {cause: times for cause in CAUSES if (times := getattr(self, cause)) is not None}

    @property
    def requeues_itself(self) -> bool:
        """Whether the script may ask Slurm for another attempt after the command's own end."""
        return bool(self.failed or self.evicted or self.out_of_memory)

    @property
    def requeue(self) -> bool | None:
        """What the job's own `requeue` must be for it; None: either."""
        if any(self.budgets.values()):
            return True
        return False if self.node_failure == 0 and self.preempted == 0 else None


def retry_contradictions(
    retry: RetrySpec | None, requeue: bool | str | None, *, has_components: bool, hears_of_evictions: bool
) -> Iterator[Contradiction]:
    """What in a job's retries cannot be meant."""
    if retry is None:
        return
    if has_components:
        # Each part is a job of its own for Slurm, with nodes to leave out of its own.
        yield Contradiction(("retry", "components"), "does not go with components; requeue: true does")
    if not retry.budgets:
        yield Contradiction(("retry",), f"says nothing: it names none of {', '.join(CAUSES)}")
    if retry.requeue and requeue is False:
        yield Contradiction(("requeue", "retry"), "is false, and retry needs it")
    if retry.evicted is not None and not hears_of_evictions:
        yield Contradiction(
            ("retry", "scheduled_events"),
            "needs scheduled_events: true, which tells an eviction from another lost node",
            ("retry", "evicted"),
        )
    if retry.statuses and not retry.failed:
        yield Contradiction(("retry",), "goes with failed: 1 or more", ("retry", "statuses"))
