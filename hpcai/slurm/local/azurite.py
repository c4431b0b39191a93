"""Azurite, the Azure Storage emulator: its program in the cache, and how a cluster runs it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcai import shell
from hpcai.errors import UnreachableError
from hpcai.files import locked, publish, scratch_folder, write_whole
from hpcai.slurm.local import tools

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
OLDEST_NODE = 18
INSTALL_TIMEOUT_S = 600


def is_made(cache: Path) -> bool:
    """Whether `ensure` will find it without fetching anything; Node.js, too, may have to be fetched."""
    return (cache / "azurite" / VERSION).is_dir()


def ensure(cache: Path) -> tuple[str, ...]:
    """The words that start Azurite's Blob service; npm fetches it the first time, then it is found."""
    cache = cache.absolute()
    target = cache / "azurite" / VERSION
    node, npm = _node(cache)
    with locked(cache / "azurite" / ".lock"):
        if not target.is_dir():
            with scratch_folder(target.parent) as folder:
                _install(node, npm, folder)
                publish(folder / "new", target)
    return (node, str(target / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"))


def _node(cache: Path) -> tuple[str, list[str]]:
    """node, and the words that start npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= OLDEST_NODE:
        return node, [npm]
    root = tools.node_wheel(cache)
    node = str(root / "bin" / "node")
    return node, [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(node: str) -> int:
    version = shell.run([node, "--version"], timeout_s=20, check=False).stdout.strip()
    return int(version.lstrip("v").partition(".")[0]) if version.startswith("v") else 0


def _install(node: str, npm: list[str], folder: Path) -> None:
    new = folder / "new"
    new.mkdir()
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev", "--ignore-scripts"]
    environ = {**os.environ, "npm_config_cache": str(folder / "npm"), "PATH": _path_with(node)}
    done = shell.run(
        [*npm, "install", *options, "--prefix", new, f"azurite@{VERSION}"],
        timeout_s=INSTALL_TIMEOUT_S,
        env=environ,
        check=False,
    )
    if done.status != 0:
        raise UnreachableError(
            f"npm could not fetch azurite {VERSION}: {_reason(done.stderr).rstrip('.')}.",
            next_step="Check the network and npm's registry setting, or start the cluster without --blob.",
        )


def _reason(text: str) -> str:
    """The line of npm's complaint that tells something: not the bare code, not where its log was."""
    lines = [line for line in text.splitlines() if line.startswith(("npm error ", "npm ERR! "))]
    words = [line.split(" ", 2)[2] for line in lines]
    told = [line for line in words if line and not line.startswith(("code ", "errno ", "A complete log"))]
    return told[0] if told else "it gave no reason"


def _path_with(node: str) -> str:
    return os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])


def write_key(file: Path) -> None:
    """A new account key, readable by this user only; an existing one stays, for the data that it opened."""
    if file.exists():
        return
    key = base64.b64encode(secrets.token_bytes(64)).decode("ascii")
    write_whole(file, json.dumps({"account_key": key}) + "\n", mode=0o600)


def environ(credentials: Path) -> dict[str, str]:
    """What Azurite's process gets to know the key by: never an argument, which every user can read."""
    key = json.loads(credentials.read_text(encoding="utf-8"))["account_key"]
    return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}


def argv(start: Sequence[str], port: int, data: Path) -> list[str]:
    """Blob service on loopback that keeps its data in `data` and tells nobody."""
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(data), "--silent"]
    return [*start, *options, "--skipApiVersionCheck", "--disableTelemetry", "--disableProductStyleUrl"]
