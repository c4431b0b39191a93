"""Settings in layers: what the site, the user, the project and the environment say, and who said it.

From low to high: built-in; `/etc/hpcai/config.yaml` (HPCAI_SITE_CONFIG names another); `site.yaml`, what
`hpcai check --write` found out, and `config.yaml` in `$XDG_CONFIG_HOME/hpcai` (HPCAI_CONFIG_HOME
names another folder); the nearest `hpcai.yaml` from the current folder upwards; the job's own file; the
environment; `--set`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from hpcai.entry import looked_at
from hpcai.errors import UsageError, nearest
from hpcai.homes import config_home, home_path

if TYPE_CHECKING:
    from hpcai.specs.mistakes import Mistake
    from hpcai.specs.yaml_text import Document

PROJECT_FILE = "hpcai.yaml"
JOB_VARIABLE = "HPCAI_JOB_"
# No config file says them.
OF_EACH_JOB = ("kind", "name", "command", "schedule")


class Setting(NamedTuple):
    """One key of a config file: its variable, and which of `_KINDS` its value is."""

    variable: str | None
    kind: str
    what: str


# Every key of a config file but `kind` and `job`.
SETTINGS: Mapping[str, Setting] = {
    "runs_root": Setting("HPCAI_RUNS_ROOT", "path", "the folder of all run records, on a shared file system"),
    "scratch": Setting("HPCAI_SCRATCH", "text", "a node's own fast disk; `%n` stands for the node's name"),
    "storage_account": Setting("AZURE_STORAGE_ACCOUNT", "text", "the account that `azure://` means"),
    "storage_endpoint": Setting("HPCAI_STORAGE_ENDPOINT", "text", "the account's URL if it is not Azure's"),
    "storage_credentials": Setting("HPCAI_STORAGE_CREDENTIALS", "path", "a 0600 file with key or SAS"),
    "allow_http": Setting("HPCAI_ALLOW_HTTP", "list", "hosts that may be talked to without TLS"),
    "image_cache": Setting("HPCAI_IMAGE_CACHE", "path", "a shared folder for imported container images"),
    "secrets_folder": Setting(
        "HPCAI_SECRETS_FOLDER",
        "path",
        "your own folder, on a shared file system, for secrets that wait for their job",
    ),
    "cluster_status": Setting(
        "HPCAI_CLUSTER_STATUS",
        "path",
        "the JSON file in which the cluster's admin side tells Azure's reasons",
    ),
    "partitions": Setting(None, "map", "partition -> VM size of its nodes"),
    "region": Setting(None, "region", "the Azure region of the nodes, for prices"),
    "login_host": Setting("HPCAI_LOGIN_HOST", "text", "the login node's name, as ssh from outside knows it"),
    "shared_folders": Setting(None, "folders", "folders that every node has at the same place"),
    "spot_partitions": Setting(None, "list", "partitions whose nodes are Spot, which Azure may take away"),
    "pyxis_version": Setting("HPCAI_PYXIS_VERSION", "version", "the version of Pyxis on the nodes"),
    "enroot_version": Setting(None, "version", "the version of Enroot on the nodes"),
}
_BUILT_IN = {"runs_root": "~/hpcai/runs"}
# Of Pyxis or Enroot.
VERSION = re.compile(r"v?[0-9]+(\.[0-9]+)+")
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "path": (lambda value: isinstance(value, str) and bool(value), "a path"),
    "text": (lambda value: isinstance(value, str) and bool(value), "text"),
    "version": (
        lambda value: isinstance(value, str) and VERSION.fullmatch(value) is not None,
        "a version such as 0.21 or 4.0.1",
    ),
    "list": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of texts",
    ),
    "folders": (
        lambda value: isinstance(value, list) and all(str(one).startswith("/") for one in value),
        "a list of absolute paths",
    ),
    "region": (
        lambda value: isinstance(value, str) and re.fullmatch("[a-z0-9]+", value) is not None,
        "a region as Azure writes it, such as westeurope",
    ),
    "map": (
        lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value.values()),
        "a map of texts",
    ),
}


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)


class Settings(NamedTuple):
    """The effective settings; `origins` tells for each where it was said."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    documents: tuple[Document, ...] = ()
    """The config files, the one that wins first."""
    job_variables: Mapping[str, str] = MappingProxyType({})
    """`HPCAI_JOB_PARTITION` and its like, which win over a job's own file."""


def load_settings(environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> Settings:
    """What holds in `folder`, default: the current one.

    Raises SpecFileError with all mistakes of the first config file that has some, UsageError for a variable.
    """
    documents = [_load(path) for path in reversed(list(config_files(environ, folder or Path.cwd())))]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, setting in SETTINGS.items():
        found = _from_variable(setting, environ) or _from_documents(key, documents)
        if found is None and key in _BUILT_IN:
            found = _BUILT_IN[key], "built-in"
        if found is not None:
            values[key], origins[key] = found
            if setting.kind == "path":
                values[key] = str(home_path(found[0], environ))
    job_variables = {name: text for name, text in sorted(environ.items()) if _is_of_job(name) and text}
    return Settings(values, origins, tuple(documents), job_variables)


def _is_of_job(name: str) -> bool:
    return name.startswith(JOB_VARIABLE) and len(name) > len(JOB_VARIABLE)


def config_files(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    """The config files that are there, the one that wins last."""
    home = config_home(environ)
    site = Path(environ.get("HPCAI_SITE_CONFIG") or "/etc/hpcai/config.yaml")
    for path in (site, home / "site.yaml", home / "config.yaml", _project_file(folder, environ)):
        # One that is closed to this user is told of, and not passed over, by whoever reads it.
        if path is not None and ((entry := looked_at(path)).is_file or entry.refused):
            yield path


def _project_file(folder: Path, environ: Mapping[str, str]) -> Path | None:
    """The nearest one; a repository's root and the home folder end the search."""
    home = environ.get("HOME")
    for parent in (folder.absolute(), *folder.absolute().parents):
        if looked_at(parent / PROJECT_FILE).is_file:
            return parent / PROJECT_FILE
        if looked_at(parent / ".git").is_there or str(parent) == home:
            return None
    return None


def _from_variable(setting: Setting, environ: Mapping[str, str]) -> tuple[Any, str] | None:
    text = environ.get(setting.variable) if setting.variable else None
    if not text:
        return None
    value = [one.strip() for one in text.split(",") if one.strip()] if setting.kind == "list" else text
    fits, allowed = _KINDS[setting.kind]
    if not fits(value):
        raise UsageError(f"{setting.variable} is {text!r}.", allowed=f"It is {allowed}.")
    return value, str(setting.variable)


def _from_documents(key: str, documents: list[Document]) -> tuple[Any, str] | None:
    for document in documents:
        if document.data.get(key) is not None:
            return _anchored(key, document), str(document.place((key,)))
    return None


def _anchored(key: str, document: Document) -> Any:
    """The value; a relative path is relative to the file's folder."""
    value = document.data[key]
    if SETTINGS[key].kind == "path" and not value.startswith("~"):
        return str(Path(document.origin).parent / value)
    return value


def _load(path: Path) -> Document:
    from hpcai.specs.mistakes import SpecFileError
    from hpcai.specs.yaml_text import parse

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The config file {str(path)!r} cannot be read: {error}.") from error
    document = parse(text, str(path))
    if document.data is None:
        document.data = {}
    _take_versions(document)
    mistakes = [*document.mistakes, *mistakes_of(document)]
    if mistakes:
        raise SpecFileError(mistakes)
    return document


def _take_versions(document: Document) -> None:
    """The versions as they were written: to YAML 0.20 is a number, whose last zero is nothing."""
    data = document.data if isinstance(document.data, dict) else {}
    for key, setting in SETTINGS.items():
        if setting.kind == "version" and isinstance(data.get(key), int | float):
            data[key] = document.written[key,]


def mistakes_of(document: Document) -> Iterator[Mistake]:
    """What is wrong in a config file whose text is YAML."""
    if not isinstance(document.data, dict):
        yield document.place(()).mistake("", f"got {document.data!r}; a map of settings")
        return
    known = ["kind", *SETTINGS, "job"]
    for key, value in document.data.items():
        if key not in known:
            yield document.place((key,), of_key=True).mistake(key, f"is not a key here; {_meant(key, known)}")
        elif key == "kind":
            if value != "config":
                yield document.place((key,)).mistake(key, f"got {value!r}; 'config'")
        elif value is not None:
            yield from _value_mistakes(document, key, value)


def _meant(key: str, known: list[str]) -> str:
    from hpcai.specs.job import ALIASES, JobSpec

    of_job = ALIASES.get(key, key)
    if of_job in OF_EACH_JOB:
        return f"{of_job!r} is each job's own"
    if of_job in JobSpec.model_fields:
        return f"it is one of a job: write {of_job!r} below job:"
    near = nearest(key, known)
    return f"did you mean {near!r}?" if near else f"keys are {', '.join(known)}"


def _value_mistakes(document: Document, key: str, value: Any) -> Iterator[Mistake]:
    if key == "job":
        if not isinstance(value, dict):
            yield document.place((key,)).mistake(key, f"got {value!r}; a map of a job's keys")
            return
        for own in OF_EACH_JOB:
            if own in value:
                yield document.place((key, own), of_key=True).mistake(f"job.{own}", "is each job's own")
        return
    fits, allowed = _KINDS[SETTINGS[key].kind]
    if not fits(value):
        yield document.place((key,)).mistake(key, f"got {value!r}; {allowed}")
