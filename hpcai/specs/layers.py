"""What lies under and over a job's own file: defaults of config files, variables, and `--set`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from hpcai.errors import UsageError
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.settings import JOB_VARIABLE
from hpcai.specs.yaml_text import Document, Place, parse
from hpcai.specs.yaml_text import Path as KeyPath

# Of these a default fills in what the job's own map leaves out; any other value stands or falls as a whole.
MERGED = ("env", "secrets", "container")
_PATHS = ("workdir", "code")


def lay_under(document: Document, defaults: Sequence[Document]) -> None:
    """Fill in what the job leaves out from the `job:` of each config file, the one that wins first."""
    for layer in defaults:
        job = layer.data.get("job")
        for key, value in job.items() if isinstance(job, dict) else ():
            own = document.data.get(key)
            if key in MERGED and isinstance(own, dict) and isinstance(value, dict):
                for name in [name for name in value if name not in own]:
                    _adopt(document, layer, (key, name))
            elif key not in document.data:
                _adopt(document, layer, (key,))


def leave_out_default_container(document: Document, defaults: Sequence[Document]) -> None:
    """Take out a `container` without an image that defaults alone say: it is for jobs that have one."""
    container = document.data.get("container")
    if not isinstance(container, dict) or "image" in container:
        return
    origins = {layer.origin for layer in defaults}
    said = [("container",), *(("container", key) for key in container)]
    if all(document.place(path).origin in origins for path in said):
        del document.data["container"]
        _forget(document, ("container",))


def set_variable(document: Document, variable: str, text: str) -> None:
    """Lay `HPCAI_JOB_PARTITION=gpu` over the job."""
    _set(document, variable.removeprefix(JOB_VARIABLE).lower(), text, variable)


def override(document: Document, text: str) -> None:
    """Lay `nodes=4` or `env.LR=0.1`, as typed after `--set`, over the job.

    Raises UsageError for one that sets nothing, SpecFileError for a value that is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(
            f"Got '--set {text}', which sets nothing.",
            allowed="Write --set KEY=VALUE, such as --set nodes=4 or --set env.SEED=7.",
        )
    # Without the value, which may be a secret: what is wrong with it says the mistake.
    _set(document, key, value, "--set")


def keep_text_as_typed(document: Document, model: type[BaseModel]) -> None:
    """Make text of what was typed, after `--set` or in a variable, for a field that is text: `array=5`."""
    for path, place in list(document.values.items()):
        if place.line is not None or path not in document.written or not _is_text(model, path):
            continue
        target: Any = document.data
        for part in path[:-1]:
            target = target[part]
        if isinstance(target[path[-1]], (bool, int, float)):
            target[path[-1]] = document.written[path]


def _is_text(annotation: Any, path: KeyPath) -> bool:
    """Whether what lies at `path` in values of a type can be text, and no number or truth."""
    if get_origin(annotation) is Annotated:
        return _is_text(get_args(annotation)[0], path)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(path[0])) if path else None
        return field is not None and _is_text(field.annotation, path[1:])
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        can_be = [one for one in inner if one is not type(None)]
        return all(_is_text(one, path) for one in can_be)
    if path and kind in (tuple, list, dict):
        return _is_text(inner[1 if kind is dict else 0], path[1:])
    return annotation is str and not path


def _adopt(document: Document, layer: Document, path: KeyPath) -> None:
    """Take over a value of a config file, with the places at which it stands there."""
    value: Any = layer.data["job"]
    target: Any = document.data
    for part in path[:-1]:
        value, target = value[part], target[part]
    # What is laid over it later must not get into the config file's own values, which serve other jobs too.
    value = deepcopy(value[path[-1]])
    if path[-1] in _PATHS and isinstance(value, str):
        value = str(Path(layer.origin).parent / Path(value).expanduser())
    target[path[-1]] = value
    for ours, theirs in _tables(document, layer):
        below = {
            known[1:]: found for known, found in theirs.items() if known[: len(path) + 1] == ("job", *path)
        }
        ours.update(below)


def _set(document: Document, key: str, text: str, origin: str) -> None:
    value = _value(text, origin)
    if value.mistakes:
        raise SpecFileError([Place(origin).mistake(key, mistake.message) for mistake in value.mistakes])
    path: list[str | int] = []
    made: list[KeyPath] = []
    target: Any = document.data
    parts = key.split(".")
    for index, part in enumerate(parts):
        step = _step(target, part, key, origin)
        path.append(step)
        if index == len(parts) - 1:
            target[step] = value.data
        elif isinstance(target, dict) and target.get(part) is None:
            target[step] = {}
            made.append(tuple(path))
        target = target[step]
    _forget(document, tuple(path))
    for one in (*made, tuple(path)):
        document.keys[one] = document.values[one] = Place(origin)
    document.written |= {(*path, *below): text for below, text in value.written.items()}


def _value(text: str, origin: str) -> Document:
    value = parse(text, origin)
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'") or text.lower() in ("", "null", "~"):
        return value
    if isinstance(value.data, (bool, int, float)):
        return value
    # On a command line `#` starts no comment and `: ` no map: a text stays what was typed.
    return Document(origin, data=text, written={(): text})


def _step(target: Any, part: str, key: str, origin: str) -> str | int:
    if isinstance(target, dict):
        return part
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return int(part)
    size = f"a list of {len(target)}" if isinstance(target, list) else repr(target)
    raise UsageError(f"{origin} {key}: {part!r} does not fit into {size}.")


def _forget(document: Document, path: KeyPath) -> None:
    for table, _ in _tables(document, document):
        for known in [known for known in table if known[: len(path)] == path]:
            del table[known]


def _tables(one: Document, other: Document) -> list[tuple[dict[KeyPath, Any], Mapping[KeyPath, Any]]]:
    return [(one.keys, other.keys), (one.values, other.values), (one.written, other.written)]
