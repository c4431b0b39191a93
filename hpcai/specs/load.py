"""The one door for YAML: a file becomes a spec, or one error that names all its mistakes."""

from __future__ import annotations

import importlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ValidationError

from hpcai.catalog.profiles import profile
from hpcai.entry import looked_at
from hpcai.errors import NotFoundError, UsageError, did_you_mean, nearest
from hpcai.specs import explain, layers
from hpcai.specs.mistakes import Mistake, SpecFileError, UnknownNames
from hpcai.specs.settings import Settings
from hpcai.specs.yaml_text import Document, key_text, parse
from hpcai.specs.yaml_text import Path as KeyPath

# kind -> the module and class that hold it; only the kind that a file names is imported.
KINDS = {
    "job": ("hpcai.specs.job", "JobSpec"),
    "steps": ("hpcai.specs.steps", "StepsSpec"),
    "cluster": ("hpcai.specs.cluster", "ClusterSpec"),
}
VERBS = {"job": "hpcai submit FILE", "steps": "hpcai submit FILE", "cluster": "hpcai cluster render FILE"}

# Keys of a job that name a folder, from the folder of its file.
_FOLDERS = ("workdir", "code")

Spec = BaseModel
AnySpec = TypeVar("AnySpec", bound=BaseModel)


def load(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    check_paths: bool = True,
) -> Spec:
    """The spec in a YAML file, with `overrides` such as `nodes=4` or `env.LR=0.1` laid over it.

    What `settings` say for jobs lies under a job's own file, and their variables over it.

    The file `-` is stdin.  Relative paths in the file are relative to its folder, in stdin to the
    current one.  `check_paths=False` takes paths that do not exist here.  Raises NotFoundError,
    SpecFileError with all mistakes, UsageError for an override that is none.
    """
    path = Path(path)
    base = path.absolute().parent
    return load_text(read(path), str(path), overrides, settings=settings, base=base, check_paths=check_paths)


def load_as(
    model: type[AnySpec],
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    settings: Settings | None = None,
) -> AnySpec:
    """The spec in a file that must be of this kind.

    Raises UsageError for a file of another kind, whatever else is wrong in it, and what `load` raises.
    """
    path = Path(path)
    base = path.absolute().parent
    spec = load_text(read(path), str(path), overrides, settings=settings, base=base, only=model)
    assert isinstance(spec, model)
    return spec


def load_text(
    text: str,
    origin: str,
    overrides: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    base: Path | None = None,
    check_paths: bool = True,
    only: type[BaseModel] | None = None,
) -> Spec:
    """The spec in a YAML text; `origin` stands in messages for the file's name.

    With `only`, a file of another kind raises UsageError before anything else in it is looked at.
    """
    return open_text(
        text, origin, overrides, settings=settings, base=base, check_paths=check_paths, only=only
    ).spec


@dataclass(frozen=True)
class Opened:
    """A spec, and the document that tells where each of its values stands."""

    spec: Spec
    document: Document


def open_text(
    text: str,
    origin: str,
    overrides: Sequence[str] = (),
    *,
    settings: Settings | None = None,
    base: Path | None = None,
    check_paths: bool = True,
    only: type[BaseModel] | None = None,
) -> Opened:
    """As `load_text`, with the places of the values."""
    document = laid_document(text, origin, overrides, settings, only)
    return Opened(validated(document, base or Path.cwd(), check_paths=check_paths), document)


def laid_document(
    text: str,
    origin: str,
    overrides: Sequence[str],
    settings: Settings | None,
    only: type[BaseModel] | None = None,
) -> Document:
    """The values of a text with everything laid over and under them, right or wrong."""
    document = document_of(text, origin)
    lay(document, settings, overrides)
    if only is not None:
        _require_kind(document, origin, only)
    return document


def kind_of(text: str, origin: str) -> str | None:
    """What a spec's text says that it is, None where it does not say. Raises SpecFileError for no map."""
    kind = document_of(text, origin).data.get("kind")
    return kind if isinstance(kind, str) else None


def document_of(text: str, origin: str) -> Document:
    """The map that a spec's text is. Raises SpecFileError for a text that is none."""
    document = parse(text, origin)
    if document.data is None and not document.mistakes:
        raise SpecFileError([Mistake(origin, 1, 1, "", "is empty; a spec begins with 'kind: job'")])
    if document.mistakes and document.data is None:
        raise SpecFileError(document.mistakes)
    if not isinstance(document.data, dict):
        message = f"got {document.data!r}; a spec is a map of keys and values that begins with 'kind: job'"
        raise SpecFileError([*document.mistakes, document.place(()).mistake("", message)])
    return document


def origins(document: Document) -> dict[str, str]:
    """Where each value of a job's document was said: `nodes` -> `job.yaml:4`, `env.LR` -> `--set`.

    A key that nobody gave is not there.
    """
    paths: set[KeyPath] = {(key,) for key in document.data}
    for key in layers.MERGED:
        below = document.data.get(key)
        paths |= {(key, name) for name in below} if isinstance(below, dict) else set()
    return {key_text(one): str(document.place(one)) for one in paths}


def lay(document: Document, settings: Settings | None, overrides: Sequence[str]) -> None:
    """Lay everything over and under the file's own values."""
    if settings is not None and document.data.get("kind") == "job":
        layers.lay_under(document, settings.documents)
        for variable, value in settings.job_variables.items():
            layers.set_variable(document, variable, value)
    for override in overrides:
        layers.override(document, override)
    if settings is not None:
        layers.leave_out_default_container(document, settings.documents)


def read(path: Path) -> str:
    """The text of a file, or of stdin for `-`. Raises NotFoundError, UsageError, SpecFileError."""
    return text_of(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """What is in a file, or comes from stdin for `-`. Raises NotFoundError, UsageError."""
    try:
        return _stdin() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError as error:
        near = nearest(path.name, _names_beside(path))
        hint = f"Did you mean {str(path.with_name(near))!r}?" if near else None
        raise NotFoundError(f"There is no file {str(path)!r}.", next_step=hint) from error
    except IsADirectoryError as error:
        raise UsageError(f"{str(path)!r} is a folder.", next_step="Name a YAML file in it.") from error
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}.") from error


def text_of(content: bytes, path: Path) -> str:
    """The text in a file's bytes. Raises SpecFileError for what is no text."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start) + 1
        line, column = content.count(b"\n", 0, error.start) + 1, error.start - line_start + 1
        message = f"got the byte {content[error.start]:#04x}, which is not UTF-8 text; save the file as UTF-8"
        raise SpecFileError([Mistake(str(path), line, column, "", message)]) from error


def _stdin() -> bytes:
    with os.fdopen(0, "rb", closefd=False) as file:
        return file.read()


def _names_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return []


def _require_kind(document: Document, origin: str, only: type[BaseModel]) -> None:
    kind = document.data.get("kind")
    if isinstance(kind, str) and kind in VERBS and KINDS[kind][1] != only.__name__:
        raise UsageError(
            f"{origin!r} is of kind {kind!r}, which this command does not take.",
            next_step=VERBS[kind].replace("FILE", shlex.quote(origin)),
        )


def validated(document: Document, base: Path, *, check_paths: bool = True) -> Spec:
    """The spec that a map of values is. Raises SpecFileError with all its mistakes."""
    mistakes = list(document.mistakes)
    _keep_env_as_written(document)
    model, aliases = _model(document, mistakes)
    layers.keep_text_as_typed(document, model)
    for key in _FOLDERS:
        _anchor(document, key, base)
    found = list(_path_mistakes(document)) if check_paths else []
    unknown = list(_unknown_profile(document))
    try:
        spec = model.model_validate(document.data)
    except ValidationError as error:
        mistakes += explain.mistakes_of(error, document, model, aliases)
        mistakes += _contradictions_beside(error, document, model)
    # A path is only worth a word when its own field is right.
    keys = {mistake.key for mistake in mistakes}
    mistakes += [mistake for mistake in found if mistake.key not in keys]
    unknown = [mistake for mistake in unknown if mistake.key not in keys]
    if mistakes:
        raise SpecFileError([*mistakes, *unknown])
    if unknown:
        raise UnknownNames(unknown)
    return spec


def _unknown_profile(document: Document) -> Iterator[Mistake]:
    name = document.data.get("profile")
    if not isinstance(name, str) or name.split("+")[0].strip().lower() == "auto":
        # Which size that is, the partition's nodes tell.
        return
    try:
        profile(name)
    except NotFoundError as error:
        words = f"got {name!r}, which is no run profile"
        if error.allowed is not None:
            words += f"; {error.allowed[0].lower()}{error.allowed[1:-1]}"
        if error.next_step is not None:
            is_hint = error.next_step.endswith("?")
            words += f". {error.next_step}" if is_hint else f"; `{error.next_step}` lists them"
        yield document.place(("profile",)).mistake("profile", words)


def _keep_env_as_written(document: Document) -> None:
    # A variable's value is text: LR: 0.10 must not arrive as 0.1, nor true as True.
    env = document.data.get("env")
    for name, value in env.items() if isinstance(env, dict) else ():
        if isinstance(value, (bool, int, float)):
            env[name] = document.written[("env", name)]


def _model(document: Document, mistakes: list[Mistake]) -> tuple[type[BaseModel], Mapping[str, str]]:
    kind = document.data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        allowed = f"kinds are {', '.join(KINDS)}"
        hint = did_you_mean(kind, KINDS) if isinstance(kind, str) else None
        if "kind" in document.data:
            message = f"got {kind!r}; {allowed}" + (f". {hint}" if hint else "")
            raise SpecFileError([*mistakes, document.place(("kind",)).mistake("kind", message)])
        raise SpecFileError([*mistakes, document.place(()).mistake("kind", f"is missing; {allowed}")])
    module, name = KINDS[kind]
    loaded = importlib.import_module(module)
    return getattr(loaded, name), loaded.ALIASES


def _contradictions_beside(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> list[Mistake]:
    """Contradictions between the fields that are right by themselves: all mistakes come at once."""
    bad = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
    if not bad:
        return []
    rest = {key: value for key, value in document.data.items() if key not in bad}
    missing = {name for name, field in model.model_fields.items() if field.is_required()} - rest.keys()
    try:
        model.model_validate(rest | dict.fromkeys(missing, "x"))
    except ValidationError as second:
        return [
            explain.contradiction(found, document)
            for found in explain.contradictions_of(second)
            if not bad & set(found.keys)
        ]
    return []


def _anchor(document: Document, key: str, base: Path) -> None:
    folder = document.data.get(key)
    if isinstance(folder, str) and folder and "\0" not in folder:
        # A user whom nobody knows has no home: the path stays, and is not there.
        with suppress(RuntimeError):
            folder = Path(folder).expanduser()
        document.data[key] = str(base / folder)


def _path_mistakes(document: Document) -> Iterator[Mistake]:
    for key in _FOLDERS:
        folder = document.data.get(key)
        if folder == "":
            yield document.place((key,)).mistake(key, "got ''; a folder, or leave the key out")
        elif isinstance(folder, str) and not (entry := looked_at(Path(folder))).is_folder:
            why = "you may not look at" if entry.refused else "is not a folder here"
            message = f"got {document.written[(key,)]!r}, which {why}"
            yield document.place((key,)).mistake(key, message)
        elif isinstance(folder, str) and not os.access(folder, os.X_OK, effective_ids=True):
            message = f"got {document.written[(key,)]!r}, which you may not enter"
            yield document.place((key,)).mistake(key, message)
    data = document.data.get("data")
    for index, entry in enumerate(data if isinstance(data, list) else []):
        source = entry.get("source") if isinstance(entry, dict) else None
        if isinstance(source, str) and source.startswith("file://"):
            place = Path(unquote(urlsplit(source).path))
            if not (found := looked_at(place)).is_there:
                path: KeyPath = ("data", index, "source")
                why = "you may not look at" if found.refused else "is not here"
                yield document.place(path).mistake(key_text(path), f"got {source!r}, which {why}")
