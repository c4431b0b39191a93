from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpcai import shell
from hpcai.specs.site import Site, cache_dir, load_site

HOME = {"HOME": "/home/me"}


def test_without_settings_runs_are_below_home_and_nothing_else_is_known() -> None:
    assert load_site(HOME) == Site(runs_root=Path("/home/me/hpcai/runs"))


def test_every_setting_comes_from_its_variable() -> None:
    environ = HOME | {
        "HPCAI_RUNS_ROOT": "~/my runs",
        "HPCAI_SCRATCH": "/nvme/%n",
        "AZURE_STORAGE_ACCOUNT": "account",
        "HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:10000/account",
        "HPCAI_STORAGE_CREDENTIALS": "~/.azure/key.json",
        "HPCAI_ALLOW_HTTP": "a.example, b.example,",
    }
    assert load_site(environ) == Site(
        runs_root=Path("/home/me/my runs"),
        scratch="/nvme/%n",
        storage_account="account",
        storage_endpoint="http://127.0.0.1:10000/account",
        storage_credentials=Path("/home/me/.azure/key.json"),
        allow_http=("a.example", "b.example"),
    )


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("RUNS_ROOT", "SCRATCH", "STORAGE_ENDPOINT", "STORAGE_CREDENTIALS", "ALLOW_HTTP")
    assert load_site(
        HOME | {f"HPCAI_{name}": "" for name in names} | {"AZURE_STORAGE_ACCOUNT": ""}
    ) == load_site(HOME)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [({}, "/home/me/.cache/hpcai"), ({"XDG_CACHE_HOME": "/cache"}, "/cache/hpcai")],
)
def test_the_cache_is_where_xdg_says(environ: dict[str, str], folder: str) -> None:
    assert cache_dir(HOME | environ) == Path(folder)


@pytest.mark.programs
def test_the_site_is_read_without_the_libraries_that_specs_need() -> None:
    code = "import sys, hpcai.specs.site; print(sorted({'pydantic', 'yaml', 'jinja2'} & sys.modules.keys()))"
    assert shell.run([sys.executable, "-c", code], timeout_s=30).stdout == "[]\n"
