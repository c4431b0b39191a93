"""What `hpcai check` may say of storage: only what a request with the credentials has shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from hpcai.check.findings import Finding
from hpcai.check.storage import check_storage
from hpcai.specs.site import load_site
from tests.real_cluster import RealBlob

WRONG_KEY = "A" * 86 + "=="


def look(environ: Mapping[str, str]) -> Finding:
    return check_storage(load_site(environ), environ)


def with_sas(blob: RealBlob, token: str) -> dict[str, str]:
    return {**blob.variables, "HPCAI_STORAGE_CREDENTIALS": "", "AZURE_STORAGE_SAS_TOKEN": token}


def account_sas(blob: RealBlob, *, hours: int, service: bool = True) -> str:
    kinds = ResourceTypes(service=service, object=True)
    may = AccountSasPermissions(read=True, list=True)
    end = datetime.now(timezone.utc) + timedelta(hours=hours)
    return generate_account_sas(blob.account, blob.account_key, kinds, may, end)


@pytest.mark.real
def test_credentials_that_open_the_account_are_ok(blob: RealBlob) -> None:
    found = look(blob.variables)
    assert (found.severity, found.what) == ("ok", f"{blob.endpoint} is opened by the account key.")
    assert look(with_sas(blob, account_sas(blob, hours=1))).severity == "ok"


@pytest.mark.real
def test_a_wrong_key_is_an_error_and_says_what_to_set(blob: RealBlob) -> None:
    environ = {**blob.variables, "HPCAI_STORAGE_CREDENTIALS": "", "AZURE_STORAGE_KEY": WRONG_KEY}
    found = look(environ)
    assert found.severity == "error"
    assert f"{blob.endpoint} refuses the account key (" in found.what
    assert found.fix and found.fix.endswith("into AZURE_STORAGE_KEY.")
    assert WRONG_KEY not in repr(found)


@pytest.mark.real
def test_a_sas_that_has_expired_is_an_error(blob: RealBlob) -> None:
    assert look(with_sas(blob, account_sas(blob, hours=-1))).severity == "error"


@pytest.mark.real
def test_a_sas_that_may_not_list_containers_is_neither_ok_nor_wrong(blob: RealBlob) -> None:
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    may = ContainerSasPermissions(read=True, list=True)
    of_container = generate_container_sas(blob.account, "data", blob.account_key, permission=may, expiry=end)
    for token in (of_container, account_sas(blob, hours=1, service=False)):
        found = look(with_sas(blob, token))
        assert (found.severity, found.fix) == ("note", "hpcai data ls azure://CONTAINER  # tells")


@pytest.mark.programs
def test_an_account_that_does_not_answer_is_told_apart() -> None:
    environ = {
        "AZURE_STORAGE_ACCOUNT": "account",
        "HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:1/account",
        "AZURE_STORAGE_KEY": WRONG_KEY,
    }
    found = look(environ)
    assert found.severity == "error"
    assert found.what == "http://127.0.0.1:1/account does not answer: Connection refused."
    assert found.fix and "HPCAI_STORAGE_ENDPOINT" in found.fix


def test_no_account_is_no_claim() -> None:
    assert look({}).severity == "note"


def test_credentials_that_cannot_be_read_are_an_error() -> None:
    found = look({"AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_KEY": "no key"})
    assert (found.severity, found.what) == (
        "error",
        "AZURE_STORAGE_KEY is not base64, so it is no account key.",
    )
