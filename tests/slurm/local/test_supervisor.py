"""The supervisor's patience, and what it starts."""

from __future__ import annotations

import json
from pathlib import Path

from hpcai.files import write_whole
from hpcai.slurm.local import marks, record, supervisor
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import Place


def test_the_wait_before_a_restart_doubles_and_is_bounded() -> None:
    assert [supervisor.restart_delay_s(failures) for failures in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6]
    assert supervisor.restart_delay_s(10**9) == 30.0


def test_every_daemon_is_marked_and_the_key_is_in_no_argument(tmp_path: Path) -> None:
    where = Place(tmp_path, "x")
    (where.state / "secrets").mkdir(parents=True)
    write_whole(where.blob_credentials, json.dumps({"account_key": "a2V5"}), mode=0o600)
    shape = Shape(nodes=2, cpus_per_node=1, gpus_per_node=0, memory_mib_per_node=1, blob=True)
    cluster = record.Cluster(shape, where.state, tmp_path, "22.05.8", 1, (2, 3), 4, ("node", "main.js"))
    started = supervisor.daemons(where, cluster)
    assert [daemon.name for daemon in started] == ["blob", "munged", "slurmctld", "n1", "n2"]
    assert {daemon.environ[marks.STATE_MARK] for daemon in started} == {str(where.state)}
    assert [daemon.environ.get(marks.NODE_MARK) for daemon in started[2:]] == [None, "n1", "n2"]
    assert not [daemon.name for daemon in started if "a2V5" in " ".join(daemon.argv)]
    assert [daemon.name for daemon in started if "a2V5" in " ".join(daemon.environ.values())] == ["blob"]
