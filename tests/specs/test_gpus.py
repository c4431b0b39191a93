from __future__ import annotations

from typing import Any

import pytest

from hpcai.specs.gpus import GpusAsked, gpus_asked
from hpcai.specs.slurm_fields import ComponentFields


@pytest.mark.parametrize(
    ("fields", "key", "per_node"),
    [
        ({}, None, None),
        ({"gpus_per_node": 0}, "gpus_per_node", 0),
        ({"gpus_per_node": 4, "gpus": "8", "nodes": 2}, "gpus_per_node", 4),
        ({"gpus": "1"}, "gpus", 1),
        ({"gpus": "h100:16", "nodes": 2}, "gpus", 8),
        ({"gpus": "3", "nodes": 2}, "gpus", None),
        ({"gres": "gpu"}, "gres", 1),
        ({"gres": "gpu:2"}, "gres", 2),
        ({"gres": "gpu:h100:2,license:5"}, "gres", 2),
        ({"gres": "craynetwork:1, gpu:a100:1,gpu:h100:2"}, "gres", 3),
        ({"gres": "gres/gpu:2(S:0)"}, "gres", 2),
        ({"gres": "license:5"}, None, None),
        ({"gpus_per_task": "2", "ntasks_per_node": 4}, "gpus_per_task", 8),
        ({"gpus_per_task": "h100:1", "ntasks": 4, "nodes": 2}, "gpus_per_task", 2),
        ({"gpus_per_task": "1", "ntasks": 3, "nodes": 2}, "gpus_per_task", None),
        ({"gpus_per_task": "1"}, "gpus_per_task", None),
        ({"tres_per_task": "cpu=4,gres/gpu=2", "ntasks_per_node": 1}, "tres_per_task", 2),
        ({"tres_per_task": "gres/gpu:h100:1", "ntasks_per_node": 2}, "tres_per_task", 2),
        ({"tres_per_task": "cpu=4", "ntasks_per_node": 1}, None, None),
        ({"gpus_per_socket": "1"}, "gpus_per_socket", None),
    ],
)
def test_gpus_of_a_node(fields: dict[str, Any], key: str | None, per_node: int | None) -> None:
    assert gpus_asked(ComponentFields(**fields)) == GpusAsked(key, per_node)
