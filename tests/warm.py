"""`hpcai` as a process of its own that begins with its modules loaded: a fork of a server that only waits.

What such a process does is what `python -m hpcai` does; only the third of a second of imports is saved.
Tests of starting, of signals and of what runs beside a test start the program itself.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

# What commands load, but for submitit.
_LOADED = ("catalog", "check", "cli", "launch", "render", "runs", "slurm", "specs", "staging")
_NOT_LOADED = "hpcai.launch.function"
_ENVIRON = dict(os.environ)
# What an interpreter reads before its first line.
_OF_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")


def hpcai(
    *words: str | Path, env: Mapping[str, str], cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """What `hpcai WORDS` printed, and its status, in this folder and with exactly these variables."""
    return python("hpcai", *words, env=env, cwd=cwd, stdin=stdin)


def python(
    module: str, *words: str | Path, env: Mapping[str, str], cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """The same of `python -m MODULE WORDS`."""
    argv = [sys.executable, "-m", module, *map(os.fspath, words)]
    # For those who watch that a pure test starts none.
    sys.audit("subprocess.Popen", sys.executable, argv, cwd, env)
    if _of_the_start(env) != _of_the_start(_ENVIRON):
        return subprocess.run(
            argv, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, check=False
        )
    with ExitStack() as files:
        told, given, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(4))
        asked = {"words": argv[2:], "env": dict(env), "folder": str(cwd or Path.cwd())}
        for file, text in ((told, json.dumps(asked)), (given, stdin)):
            file.write(text.encode())
            file.seek(0)
        server = _server()
        draws = b"+" if words[:1] == ("report",) else b"-"
        socket.send_fds(server, [draws], [file.fileno() for file in (told, given, out, err)])
        status = server.recv(16)
        assert status, "the server of warm processes has ended"
        return subprocess.CompletedProcess(argv, int(status), _text(out), _text(err))


def _of_the_start(env: Mapping[str, str]) -> dict[str, str]:
    of_the_start = {name: value for name, value in env.items() if name.startswith(_OF_THE_START)}
    return {name: value for name, value in of_the_start.items() if not value.endswith("UTF-8")}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    # As subprocess reads text, any end of a line becomes a newline.
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
    # In the checkout, where `tests` is found.
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        argv,
        cwd=root,
        env=_ENVIRON,
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(asked: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = [place for place in sys.path if place]
    for name in _modules():
        importlib.import_module(name)
    # What is here will be shared by all.
    gc.collect()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(asked, 1, 4)
        if not message:
            return
        if message == b"+":
            # (Half a second, for plots alone.)
            importlib.import_module("hpcai.report.build")
        pid = os.fork()
        if pid == 0:
            asked.close()
            _be_hpcai(*files)
        for file in files:
            os.close(file)
        asked.sendall(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _modules() -> Iterator[str]:
    import hpcai

    for package in _LOADED:
        for path in hpcai.__path__:
            for found in pkgutil.iter_modules([f"{path}/{package}"], f"hpcai.{package}."):
                if not found.ispkg and found.name != _NOT_LOADED:
                    yield found.name


def _be_hpcai(told: int, *streams: int) -> None:
    """Become the process that was asked for; ends as it does."""
    with open(told, "rb") as file:
        asked: dict[str, Any] = json.load(file)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name, number in (("stdout", 1), ("stderr", 2)):
        fresh = open(number, "w", encoding="utf-8", errors=getattr(sys, name).errors)  # noqa: PTH123, SIM115
        setattr(sys, name, fresh)
        setattr(sys, f"__{name}__", fresh)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["words"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "." in sys.argv[0]:
        # A module that is run is loaded anew.
        sys.modules.pop(sys.argv[0], None)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
