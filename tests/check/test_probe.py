"""The small task of a node, run here by bash against folders that play a node's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hpcai.check.probe import Probe, facts_of, probe_of, script
from tests.closed import never_looks_at_everything

pytestmark = pytest.mark.programs


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder with an enroot on its PATH, and nothing of Azure's."""
    for name, text in (("enroot", "echo 4.0.1"), ("curl", "exit 7")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def ask(node: Path, **environ: str) -> Probe:
    told = {"PATH": f"{node}/bin:{os.environ['PATH']}", "HOME": str(node), "HPCAI_SYS": f"{node}/sys"}
    told |= {"ENROOT_SYSCONF_PATH": f"{node}/conf", **environ}
    done = subprocess.run(
        ["bash", "-c", script(Path("/none"), node, None)],
        env=told,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=never_looks_at_everything,
    )
    assert done.stderr == ""
    return probe_of(done.stdout)


def test_without_a_word_in_enroot_conf_its_own_folders_are_tried(node: Path) -> None:
    (node / "run").mkdir(mode=0o555)
    found = ask(node, XDG_RUNTIME_DIR=f"{node}/run")
    assert found.every("enroot_closed") == [f"{node}/run/enroot"]
    assert found.one("enroot_data") == f"{node}/.local/share/enroot"
    assert ask(node).one("enroot_runtime") == "/run/enroot"


def test_enroot_conf_is_read_as_enroot_reads_it(node: Path) -> None:
    (node / "conf/enroot.conf.d").mkdir(parents=True)
    (node / "conf/enroot.conf").write_text("# a word\nENROOT_DATA_PATH=/nvme/$(id -u)\nENROOT_MOUNT_HOME y\n")
    more = f"ENROOT_DATA_PATH /late\nENROOT_RUNTIME_PATH\t{node}/new/r\nenroot_x 1\n"
    (node / "conf/enroot.conf.d/a.conf").write_text(more)
    found = ask(node)
    assert found.one("enroot_data") == f"/nvme/{os.getuid()}"
    assert found.one("enroot_runtime") == f"{node}/new/r"
    assert [line.split()[0] for line in found.every("enroot_conf")] == [
        "ENROOT_DATA_PATH",
        "ENROOT_MOUNT_HOME",
        "ENROOT_RUNTIME_PATH",
    ]


def test_gpus_of_amd_and_the_layer_of_ports_are_told(node: Path) -> None:
    for number, vendor in ((128, "0x1002"), (129, "0x1002"), (130, "0x1a03")):
        device = node / f"sys/class/drm/renderD{number}/device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
    for name, layer, state in (("mlx5_ib0", "InfiniBand", "1: DOWN"), ("mlx5_an0", "Ethernet", "4: ACTIVE")):
        port = node / f"sys/class/infiniband/{name}/ports/1"
        port.mkdir(parents=True)
        for part, text in (("state", state), ("rate", "100 Gb/sec (4X EDR)"), ("link_layer", layer)):
            (port / part).write_text(f"{text}\n")
    found = ask(node)
    assert found.every("gpu")[-2:] == ["/dev/dri/renderD128", "/dev/dri/renderD129"]
    assert found.ports == ["mlx5_ib0 1: DOWN 100 Gb/sec (4X EDR) InfiniBand"]


@pytest.mark.parametrize(
    ("said", "kept"), [("4.0.1", "4.0.1"), ("4.1.2-13-g8ea147d", "4.1.2"), ("unknown", None)]
)
def test_of_a_node_the_release_of_enroot_is_kept_as_settings_take_it(said: str, kept: str | None) -> None:
    assert facts_of({"main": probe_of(f"enroot={said}\nend=yes\n")}).get("enroot_version") == kept
