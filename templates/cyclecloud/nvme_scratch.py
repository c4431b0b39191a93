#!/usr/bin/env python3
"""Joins the free NVMe disks of this node to one scratch at /nvme, which everybody may write to."""

import json
import subprocess
from pathlib import Path

columns = ["lsblk", "--json", "--paths", "--output", "NAME,MODEL,MOUNTPOINT"]
listed = subprocess.run(columns, check=True, stdout=subprocess.PIPE)
disks = [
    disk["name"]
    for disk in json.loads(listed.stdout)["blockdevices"]
    if "NVMe Direct Disk" in (disk["model"] or "") and not disk["mountpoint"] and "children" not in disk
]
if disks:
    count = "--raid-devices=" + str(len(disks))
    mdadm = ["mdadm", "--create", "/dev/md/nvme", "--run", "--force", "--level=0", count]
    subprocess.run([*mdadm, *disks], check=True)
    subprocess.run(["mkfs.xfs", "-f", "-K", "-L", "nvme", "/dev/md/nvme"], check=True)
    scratch = Path("/nvme")
    scratch.mkdir(exist_ok=True)
    with Path("/etc/fstab").open("a") as fstab:
        print("LABEL=nvme /nvme xfs defaults,nofail 0 0", file=fstab)
    subprocess.run(["mount", "/nvme"], check=True)
    scratch.chmod(0o1777)
