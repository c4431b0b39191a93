from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest

from hpcai.errors import HpcaiError, NotFoundError, SpecError, UsageError
from hpcai.staging.credentials import AccountKey, Identity, Sas, Secret, find_credentials

KEY = base64.b64encode(b"TOPSECRETTOPSECRET").decode()
SAS = "sv=2024-11-04&sig=TOPSECRET%3D"


def write(path: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    path.write_text(text)
    path.chmod(mode)
    return {"HPCAI_STORAGE_CREDENTIALS": str(path)}


def test_a_secret_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("TOPSECRET")
    logging.getLogger("test").warning("%s %r", secret, secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, str([secret]), caplog.text]  # noqa: UP031
    shown += [str(AccountKey(secret)), repr({"key": Sas(secret)}), str(vars(AccountKey(secret)))]
    assert all("TOPSECRET" not in text and "***" in text for text in shown)
    assert secret.reveal() == "TOPSECRET"


def test_a_secret_cannot_be_written_down() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    with pytest.raises(TypeError):
        json.dumps(Secret("x"))


def test_the_order_of_sources(tmp_path: Path) -> None:
    environ = {"AZURE_STORAGE_SAS_TOKEN": f"?{SAS}"}
    assert find_credentials({}) == Identity()
    found = find_credentials(environ)
    assert isinstance(found, Sas)
    assert found.token.reveal() == SAS
    environ["AZURE_STORAGE_KEY"] = KEY
    assert isinstance(find_credentials(environ), AccountKey)
    environ |= write(tmp_path / "c.json", json.dumps({"sas": SAS}))
    assert isinstance(find_credentials(environ), Sas)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("TOPSECRET", SpecError, "is not JSON"),
        ("[]", SpecError, "does not hold exactly one secret (it has list)"),
        ("{}", SpecError, "does not hold exactly one secret (it has [])"),
        (json.dumps({"key": KEY}), SpecError, "it has ['key']"),
        (json.dumps({"account_key": KEY, "sas": SAS}), SpecError, "it has ['account_key', 'sas']"),
        (json.dumps({"account_key": 7}), SpecError, "does not hold exactly one secret"),
        (json.dumps({"account_key": "%TOPSECRET"}), SpecError, "account_key is not base64"),
        (json.dumps({"account_key": ""}), SpecError, "account_key is not base64"),
        (json.dumps({"sas": "TOPSECRET"}), SpecError, "sas has no `sig=`"),
    ],
)
def test_a_wrong_file_is_named_and_not_repeated(
    tmp_path: Path, text: str, kind: type[HpcaiError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        find_credentials(write(tmp_path / "c.json", text))
    assert words in caught.value.what
    assert str(tmp_path / "c.json") in caught.value.what
    assert "TOPSECRET" not in "".join(traceback.format_exception(caught.value))
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_may_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match=f"has mode {mode:04o}") as caught:
        find_credentials(write(tmp_path / "c.json", json.dumps({"sas": SAS}), mode))
    assert caught.value.next_step is not None
    assert caught.value.next_step.startswith("chmod 600")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        find_credentials({"HPCAI_STORAGE_CREDENTIALS": str(tmp_path / "none")})
    with pytest.raises(UsageError, match="cannot be read"):
        find_credentials({"HPCAI_STORAGE_CREDENTIALS": str(tmp_path)})


def test_a_wrong_variable() -> None:
    with pytest.raises(UsageError, match="AZURE_STORAGE_KEY is not base64"):
        find_credentials({"AZURE_STORAGE_KEY": "%"})
    with pytest.raises(UsageError, match="AZURE_STORAGE_SAS_TOKEN has no"):
        find_credentials({"AZURE_STORAGE_SAS_TOKEN": "abc"})
