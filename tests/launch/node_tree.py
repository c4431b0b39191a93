"""A folder that looks like the /proc and /sys of a node with graphics cards and InfiniBand."""

from __future__ import annotations

from pathlib import Path

STAT = "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n"
DISKS = """   7       0 loop0 9 0 9999 0 9 0 9999 0 0 0 0
   8       0 sda 10 0 {read} 5 20 0 {written} 5 0 0 0
   8       1 sda1 10 0 {read} 5 20 0 {written} 5 0 0 0
 259       0 nvme0n1 10 0 0 5 20 0 0 5 0 0 0
 259       1 nvme0n1p1 10 0 7 5 20 0 7 5 0 0 0
"""
NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
  eth0: {into} 1 0 0 0 0 0 0 {out} 1 0 0 0 0 0 0
 enP1: {into} 1 0 0 0 0 0 0 {out} 1 0 0 0 0 0 0
   ib0: 777 1 0 0 0 0 0 0 777 1 0 0 0 0 0 0
"""
MEMORY = "MemTotal:       104857600 kB\nMemFree:        1024 kB\nMemAvailable:   52428800 kB\n"


def make(root: Path, ports: int = 2) -> Path:
    """The folder; ports of InfiniBand are mlx5_ib0 and on, and a card for Ethernet stands beside them."""
    for index in range(ports):
        _port(root, f"mlx5_ib{index}", "InfiniBand")
    _port(root, "mlx5_an0", "Ethernet")
    for name, kind in (("eth0", "1"), ("enP1", "1"), ("ib0", "32"), ("lo", "772")):
        card = root / "sys/class/net" / name
        card.mkdir(parents=True)
        (card / "type").write_text(kind + "\n")
        if name != "lo":
            (card / "device").mkdir()
    (root / "sys/class/net/enP1/master").mkdir()
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMORY)
    turn(root, 0)
    return root


def _port(root: Path, device: str, link: str) -> None:
    port = root / "sys/class/infiniband" / device / "ports/1"
    (port / "counters").mkdir(parents=True)
    (port / "link_layer").write_text(link + "\n")


def turn(root: Path, ticks: int) -> None:
    """Every counter stands where `ticks` seconds would have brought it."""
    (root / "proc/stat").write_text(STAT.format(busy=25 * ticks, idle=75 * ticks))
    (root / "proc/diskstats").write_text(DISKS.format(read=2000 * ticks, written=4000 * ticks))
    (root / "proc/net/dev").write_text(NET.format(into=5_000_000 * ticks, out=7_000_000 * ticks))
    for counters in (root / "sys/class/infiniband").glob("*/ports/1/counters"):
        (counters / "port_rcv_data").write_text(f"{250_000_000 * ticks}\n")
        (counters / "port_xmit_data").write_text(f"{500_000_000 * ticks}\n")


def cgroup(root: Path, version: int) -> Path:
    """The kernel's folder of job 12, of whose step this process is a part."""
    if version == 2:
        line, folder = (
            "0::/system.slice/slurmstepd.scope/job_12/step_1/user/task_0\n",
            "system.slice/slurmstepd.scope/job_12",
        )
    else:
        line, folder = "4:cpu,cpuacct:/slurm/uid_0/job_12/step_1\n", "cpu,cpuacct/slurm/uid_0/job_12"
    (root / "proc/self").mkdir()
    (root / "proc/self/cgroup").write_text("9:name=systemd:/\n" + line)
    path = root / "sys/fs/cgroup" / folder
    path.mkdir(parents=True)
    return path
