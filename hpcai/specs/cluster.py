"""What a cluster is."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

ALIASES: dict[str, str] = {}


class ClusterSpec(BaseModel):
    """One CycleCloud cluster."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    kind: Literal["cluster"] = "cluster"
    name: str
