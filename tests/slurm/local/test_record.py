from __future__ import annotations

import json
from pathlib import Path

from hpcai.slurm.local import record
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import place


def test_a_cluster_of_a_later_hpcai_is_read(tmp_path: Path) -> None:
    where = place(tmp_path, "a")
    where.state.mkdir(parents=True)
    saved = record.Cluster(
        Shape(1, 2, 0, 1000, False), tmp_path, tmp_path, "22.05.8", 20000, (20001,), None, (), 20002
    )
    assert saved.ports == (20000, 20001, 20002)
    record.save_cluster(where, saved)
    content = json.loads(where.shape.read_text())
    content["later"] = content["shape"]["later"] = True
    where.shape.write_text(json.dumps(content))
    assert record.load_cluster(where) == saved
