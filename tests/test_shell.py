"""Programs that the system does not start, and why."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai import shell
from hpcai.errors import ToolError, UnreachableError

pytestmark = pytest.mark.programs


@pytest.fixture
def no_descriptor_left() -> Iterator[None]:
    """Inside, this process may open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest free number is the first that is refused.
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("no_descriptor_left")
def test_where_there_is_no_room_for_one_more_it_may_work_later() -> None:
    with pytest.raises(UnreachableError) as short:
        shell.run(["true"], timeout_s=10)
    assert str(short.value).splitlines() == [
        "'true' cannot be started: Too many open files.",
        "`ulimit -a` shows what this user may have; try again later.",
    ]
    with pytest.raises(UnreachableError, match="Too many open files"):
        shell.start(["true"], stdout=shell.PIPE)


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program\n")
    with pytest.raises(ToolError, match="cannot be started: Permission denied"):
        shell.run([text], timeout_s=10)
    text.chmod(0o755)
    for start in (shell.start, shell.call):
        with pytest.raises(ToolError, match="cannot be started: Exec format error"):
            start([text])
    with pytest.raises(ToolError, match="cannot be started: Exec format error"):
        shell.become([text], env={"PATH": ""})
    with pytest.raises(shell.ProgramMissing):
        shell.call([tmp_path / "none"])
