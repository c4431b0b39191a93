"""A job's file to begin with, as text: what was asked for, and what is most often wanted next as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# A text of these signs alone is read by YAML as itself: no colon, no #, no quote at its beginning.
_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9 ._/@%+=$\"'-]*(?<! )")
_WORDS = re.compile(r"true|false|yes|no|on|off|null|[yn]|\.inf|\.nan|[.]?[0-9]+[.]?[0-9]*", re.IGNORECASE)
# Key -> what is said of it where it is left out.
_HINTS = {
    "nodes": "nodes: 1",
    "time_min": "time_min: 60             # without it, the partition's own limit",
    "partition": "partition: gpu           # `sinfo -s` lists them; without it, Slurm's default",
    "retry": "retry: {node_failure: 3}  # every key: docs/job.md, or hpcai config --schema job",
}
_FIRST = (
    "profile",
    "nodes",
    "ntasks_per_node",
    "gpus_per_node",
    "time_min",
    "partition",
    "account",
    "launcher",
)


def starter(given: Mapping[str, Any], settled: Mapping[str, Any]) -> str:
    """The file; `given` are a job's keys, `settled` what the settings say for every job.

    What is settled so already is left out, and so is what was not given.
    """
    asked = {key: value for key, value in given.items() if value is not None and settled.get(key) != value}
    return "".join(f"{line}\n" for line in _lines(asked, settled))


def _lines(asked: Mapping[str, Any], settled: Mapping[str, Any]) -> Iterator[str]:
    yield "kind: job"
    yield f"name: {scalar(asked['name'])}"
    for key in _FIRST:
        if key in asked:
            yield f"{key}: {scalar(asked[key])}"
    for key, hint in _HINTS.items():
        if key not in asked and key not in settled:
            yield f"# {hint}"
    if "container" in asked:
        yield "container:"
        yield f"  image: {scalar(asked['container'])}"
    if "data" in asked:
        yield "data:  # on every node's own disk, in $HPCAI_DATA_DATA"
        yield f"  - {{name: data, source: {json.dumps(asked['data'], ensure_ascii=False)}}}"
    yield "# What it leaves behind belongs into $HPCAI_OUTPUTS."
    yield f"command: {scalar(asked['command'])}"


def scalar(value: Any) -> str:
    """The value as YAML that is read back as the same."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
