"""Secrets are read where their references lead, and refused without a word of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from hpcai.errors import HpcaiError, NotFoundError, UsageError
from hpcai.specs.secrets import parse_reference
from hpcai.staging.credentials import Secret
from hpcai.staging.secrets import LONGEST, read_here


def secret_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(mode)
    return f"file:{path}"


def value(reference: str, environ: dict[str, str] | None = None) -> str:
    found = read_here("TOKEN", parse_reference(reference), environ or {})
    assert found is not None
    return found.reveal()


def refusal(reference: str, environ: dict[str, str] | None = None) -> HpcaiError:
    with pytest.raises(HpcaiError) as raised:
        value(reference, environ)
    shown = f"{raised.value!r} {raised.value} {raised.value.__cause__!r}"
    assert "hunter2" not in shown
    return raised.value


def test_a_secret_shows_itself_nowhere() -> None:
    found = read_here("TOKEN", parse_reference("env:X"), {"X": "hunter2"})
    assert f"{found} {found!r} {[found]} { {1: found} }".count("***") == 4
    assert isinstance(found, Secret)
    with pytest.raises(TypeError):
        pickle.dumps(found)


def test_a_file_is_read_as_the_shell_will(weird_folder: Path) -> None:
    assert value(secret_file(weird_folder, "two\nlines \n\n")) == "two\nlines "
    assert value(secret_file(weird_folder, "\udcff\r\n")) == "\udcff\r"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    error = refusal(secret_file(tmp_path, "hunter2", mode))
    assert isinstance(error, UsageError)
    assert f"has mode {mode:04o}: others may read it." in error.what
    assert error.next_step == f"chmod 600 {tmp_path}/key"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    reference = secret_file(tmp_path, "hunter2")
    os.chown(tmp_path / "key", 12345, -1)
    assert "belongs to the user with the number 12345" in refusal(reference).what


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("hunter2\0", "zero byte"),
        ("hunter2" * LONGEST, f"more than {LONGEST} bytes"),
    ],
    ids=["empty", "newlines", "zero", "long"],
)
def test_what_no_variable_can_hold_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(secret_file(tmp_path, text)).what


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert isinstance(refusal(f"file:{tmp_path}/none"), NotFoundError)
    assert "Is a directory" in refusal(f"file:{tmp_path}").what
    error = refusal("env:MY_TOKEN")
    assert isinstance(error, NotFoundError)
    assert error.next_step is not None and "read -rs MY_TOKEN; export MY_TOKEN" in error.next_step


def test_a_vault_is_for_the_node() -> None:
    assert read_here("TOKEN", parse_reference("keyvault://vault/name"), {}) is None
