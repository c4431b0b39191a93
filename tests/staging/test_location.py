from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.errors import UsageError
from hpcai.staging.location import BlobLocation, FolderLocation, parse_location

ACCOUNT = {"AZURE_STORAGE_ACCOUNT": "acct"}
EMULATOR = {
    "AZURE_STORAGE_ACCOUNT": "devstoreaccount1",
    "HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:10000/devstoreaccount1/",
}


@pytest.mark.parametrize(
    ("url", "environ", "location"),
    [
        (
            "azure://data/digits/v1",
            ACCOUNT,
            BlobLocation("acct", "https://acct.blob.core.windows.net", "data", "digits/v1"),
        ),
        ("azure://data", ACCOUNT, BlobLocation("acct", "https://acct.blob.core.windows.net", "data", "")),
        ("azure://data/", ACCOUNT, BlobLocation("acct", "https://acct.blob.core.windows.net", "data", "")),
        (
            "azure://data/a b",
            EMULATOR,
            BlobLocation("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1", "data", "a b"),
        ),
        (
            "https://other.blob.core.windows.net/data/a%20b/",
            ACCOUNT,
            BlobLocation("other", "https://other.blob.core.windows.net", "data", "a b"),
        ),
        (
            "https://cn.blob.core.chinacloudapi.cn/data",
            {},
            BlobLocation("cn", "https://cn.blob.core.chinacloudapi.cn", "data", ""),
        ),
        (
            "https://gov.blob.core.usgovcloudapi.net/data",
            {},
            BlobLocation("gov", "https://gov.blob.core.usgovcloudapi.net", "data", ""),
        ),
        (
            "https://acct.z07.blob.storage.azure.net/data",
            {},
            BlobLocation("acct", "https://acct.z07.blob.storage.azure.net", "data", ""),
        ),
        (
            "http://localhost:1/acct/data/x",
            {},
            BlobLocation("acct", "http://localhost:1/acct", "data", "x"),
        ),
        (
            "http://127.0.0.1:10000/devstoreaccount1/data/x",
            EMULATOR,
            BlobLocation("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1", "data", "x"),
        ),
        (
            "http://blobs.lan/data/x",
            {**ACCOUNT, "HPCAI_STORAGE_ENDPOINT": "http://blobs.lan", "HPCAI_ALLOW_HTTP": "a, blobs.lan"},
            BlobLocation("acct", "http://blobs.lan", "data", "x"),
        ),
        ("file:///data/my%20set", {}, FolderLocation(Path("/data/my set"))),
    ],
)
def test_places(url: str, environ: dict[str, str], location: object) -> None:
    assert parse_location(url, environ) == location


@pytest.mark.parametrize(
    ("url", "environ", "words"),
    [
        ("digits", {}, "'digits' is not a place that hpcai can read"),
        ("s3://bucket/x", {}, "'s3://bucket/x' is not a place"),
        ("azure://data/x", {}, "AZURE_STORAGE_ACCOUNT is not set"),
        ("azure://data/x", {"AZURE_STORAGE_ACCOUNT": "My.Acct"}, "'My.Acct', which is no account name"),
        ("azure://", ACCOUNT, "names the container ''"),
        ("azure://My_Data/x", ACCOUNT, "names the container 'My_Data'"),
        ("azure://ab/x", ACCOUNT, "names the container 'ab'"),
        ("azure://data:80/x", ACCOUNT, "has a port"),
        ("azure://data/a//b", ACCOUNT, "an empty part"),
        ("azure://data/../b", ACCOUNT, "'..' in its path"),
        ("azure://data/a\tb", ACCOUNT, "cannot be printed"),
        ("https://example.org/data", {}, "not the URL of an Azure storage account"),
        ("https://acct.blob.evil.example/data", ACCOUNT, "not the URL of an Azure storage account"),
        ("https://acct.blob.core.windows.net.evil.example/data", ACCOUNT, "not the URL of an Azure storage"),
        (
            "https://evil.example.blob.core.windows.net/data",
            ACCOUNT,
            "not the URL of an Azure storage account",
        ),
        ("https://acct.z07.blob.storage.azure.net.evil/data", ACCOUNT, "not the URL of an Azure storage"),
        ("https://[::1", {}, "is no URL"),
        ("http://acct.blob.core.windows.net/data", {}, "over http, readable by the network"),
        ("azure://data", {**ACCOUNT, "HPCAI_STORAGE_ENDPOINT": "http://10.0.0.1"}, "over http"),
        ("azure://data", {**ACCOUNT, "HPCAI_STORAGE_ENDPOINT": "10.0.0.1:80"}, "is no http or https URL"),
        ("file://server/share", {}, "names no absolute folder"),
        ("file:relative", {}, "names no absolute folder"),
    ],
)
def test_what_is_no_place(url: str, environ: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(url, environ)
    assert words in caught.value.what
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "url",
    [
        "https://acct.blob.core.windows.net/data?sv=2024&sig=TOPSECRET",
        "https://user:TOPSECRET@acct.blob.core.windows.net/data",
        "azure://data/x?sig=TOPSECRET",
        "azure://data/x#TOPSECRET",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="carries a query") as caught:
        parse_location(url, ACCOUNT)
    assert "TOPSECRET" not in str(caught.value)


@given(
    st.from_regex(r"[a-z0-9]{3,10}", fullmatch=True),
    st.lists(
        st.text("ab0-_. %", min_size=1, max_size=5).filter(lambda part: part not in (".", "..")), max_size=3
    ),
)
def test_the_url_of_a_place_names_it_again(container: str, parts: list[str]) -> None:
    location = BlobLocation("acct", "https://acct.blob.core.windows.net", container, "/".join(parts))
    assert parse_location(location.url, ACCOUNT) == location


@given(st.lists(st.text(min_size=1, max_size=5).filter(lambda p: "/" not in p and "\0" not in p), min_size=1))
def test_the_url_of_a_folder_names_it_again(parts: list[str]) -> None:
    location = FolderLocation(Path("/", *(f"x{part}" for part in parts)))
    try:
        url = location.url
    except UnicodeEncodeError:
        return
    assert parse_location(url, {}) == location
