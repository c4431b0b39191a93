"""Downloads a data set with one client: `_pull_clients.py CLIENT URL DIR`. Measured by pull.py."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MIB = 1024 * 1024
THREADS = 8


def with_hpcai(url: str, target: Path) -> None:
    from hpcai.staging.pull import pull

    pull(url, os.environ, to=target)


def with_obstore(url: str, target: Path) -> None:
    """The same ranged reads by as many threads, without verification, publication or retries."""
    import json

    import obstore
    from obstore.store import AzureStore

    container, _, prefix = url.removeprefix("azure://").partition("/")
    store = AzureStore(
        container,
        prefix=prefix,
        account_name=os.environ["AZURE_STORAGE_ACCOUNT"],
        account_key=os.environ["AZURE_STORAGE_KEY"],
        endpoint=os.environ["HPCAI_STORAGE_ENDPOINT"],
        client_options={"allow_http": True},
    )
    manifest = json.loads(bytes(obstore.get(store, "manifest.json").bytes()))
    target.mkdir(parents=True)
    shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
    files = {shard["path"]: os.open(target / shard["path"], os.O_WRONLY | os.O_CREAT) for shard in shards}

    def piece(path: str, start: int, end: int) -> None:
        os.pwrite(files[path], obstore.get_range(store, path, start=start, end=end), start)

    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [
            pool.submit(piece, shard["path"], start, min(start + 8 * MIB, shard["bytes"]))
            for shard in shards
            for start in range(0, shard["bytes"], 8 * MIB)
        ]
        for job in jobs:
            job.result()


def with_sdk(url: str, target: Path, **options: int) -> None:
    """One blob after the other, each by its own threads, as its documentation shows."""
    from azure.storage.blob import ContainerClient

    container, _, prefix = url.removeprefix("azure://").partition("/")
    account = {
        "account_name": os.environ["AZURE_STORAGE_ACCOUNT"],
        "account_key": os.environ["AZURE_STORAGE_KEY"],
    }
    client = ContainerClient(os.environ["HPCAI_STORAGE_ENDPOINT"], container, credential=account, **options)
    target.mkdir(parents=True)
    for name in client.list_blob_names(name_starts_with=f"{prefix}/"):
        with (target / name.rpartition("/")[2]).open("wb") as file:
            client.download_blob(name, max_concurrency=THREADS if options else 1).readinto(file)


def with_tuned_sdk(url: str, target: Path) -> None:
    with_sdk(url, target, max_single_get_size=8 * MIB, max_chunk_get_size=8 * MIB)


CLIENTS = {"hpcai": with_hpcai, "obstore": with_obstore, "sdk": with_sdk, "sdk-tuned": with_tuned_sdk}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
