"""A file of steps, with the job of each step loaded through the same door as a job's own file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpcai.errors import NotFoundError
from hpcai.specs import explain
from hpcai.specs.job import JobSpec
from hpcai.specs.load import Opened, document_of, laid_document, lay, read, validated
from hpcai.specs.mistakes import Mistake, SpecFileError
from hpcai.specs.settings import Settings
from hpcai.specs.steps import Step, Steps, StepSpec, StepsSpec, contradictions
from hpcai.specs.yaml_text import Document, key_text
from hpcai.specs.yaml_text import Path as KeyPath


def load_steps(
    text: str, origin: str, overrides: tuple[str, ...] = (), settings: Settings | None = None
) -> Steps:
    """The steps in a YAML text with their jobs; paths are relative to the folder of `origin`.

    A step's job is named like the steps and the step, and is of their experiment.
    Raises SpecFileError with the mistakes of all steps.
    """
    base = Path(origin).absolute().parent
    document = document_of(text, origin)
    lay(document, None, overrides)
    mistakes: list[Mistake] = []
    try:
        spec = validated(document, base)
        assert isinstance(spec, StepsSpec)
    except SpecFileError as error:
        spec = _as_far_as_right(document, error.mistakes)
        mistakes += [*error.mistakes, *_beside(spec, document, error.mistakes)]
    found: list[Step] = []
    for index, step in enumerate(spec.steps):
        told, opened = _job(document, index, spec, base, settings)
        mistakes += told
        if opened is None:
            continue
        job = opened.spec
        assert isinstance(job, JobSpec)
        named = job.model_copy(update={"name": f"{spec.name}-{step.name}", "experiment": spec.experiment})
        found.append(Step(step.name, named, spec.before(index), step.when, opened.document))
    if mistakes:
        raise SpecFileError(list(dict.fromkeys(mistakes)))
    return Steps(spec.name, spec.experiment, tuple(found), spec.schedule)


def _as_far_as_right(document: Document, mistakes: Sequence[Mistake]) -> StepsSpec:
    """The steps without the values that are mistakes, so that all others are looked at too."""
    bad = {mistake.key for mistake in mistakes}

    def is_right(index: int, key: str) -> bool:
        begin = f"steps[{index}].{key}"
        return key in StepSpec.model_fields and not any(
            re.match(rf"{re.escape(begin)}\b", one) for one in bad
        )

    entries = document.data.get("steps")
    steps = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        own = entry if isinstance(entry, dict) else {}
        right = {key: value for key, value in own.items() if is_right(index, key)}
        steps.append(StepSpec.model_validate({"name": f"step-{index}", **right}))
    schedule = document.data.get("schedule") if "schedule" not in bad else None
    return StepsSpec.model_construct(name="x", experiment="x", schedule=schedule, steps=tuple(steps))


def _beside(spec: StepsSpec, document: Document, mistakes: Sequence[Mistake]) -> Iterator[Mistake]:
    """What in the right values cannot be meant together, where that does not follow from a mistake."""
    if any(re.fullmatch(r"steps(\[\d+\](\.name)?)?", mistake.key) for mistake in mistakes):
        return
    begun = {re.match(r"(steps\[\d+\])?", mistake.key)[0]: mistake for mistake in mistakes}  # type: ignore[index]
    for one in contradictions(spec):
        mistake = explain.contradiction(one, document)
        is_of_file = mistake.key in begun and begun[mistake.key].key.rpartition(".")[2] in ("file", "job")
        if not is_of_file:
            yield mistake


def _job(
    document: Document, index: int, spec: StepsSpec, base: Path, settings: Settings | None
) -> tuple[list[Mistake], Opened | None]:
    """What is wrong with the job of a step, and the job where nothing is wrong with itself."""
    step, path = spec.steps[index], ("steps", index)
    if (step.file is None) == (step.job is None):
        return [], None
    try:
        laid, folder = _laid(document, index, step, base, settings)
    except SpecFileError as error:
        return list(error.mistakes), None
    except NotFoundError as error:
        at: KeyPath = (*path, "file")
        return [document.place(at).mistake(key_text(at), f"got {str(step.file)!r}: {error.what}")], None
    place = document.place(path)
    found = [place.mistake(key_text(path), what) for what in _of_all_steps(laid.data, spec, index)]
    try:
        return found, Opened(validated(laid, folder), laid)
    except SpecFileError as error:
        return [*error.mistakes, *found], None


def _laid(
    document: Document, index: int, step: StepSpec, base: Path, settings: Settings | None
) -> tuple[Document, Path]:
    """The values of a step's job, and the folder that its paths are relative to."""
    if step.file is not None:
        path = base / step.file.expanduser()
        return laid_document(read(path), str(path), step.set, settings, JobSpec), path.absolute().parent
    inside = _inner(document, ("steps", index, "job"))
    inside.data = {"kind": "job", "name": step.name, **inside.data}
    lay(inside, settings, ())
    return inside, base


def _of_all_steps(job: dict[str, Any], spec: StepsSpec, index: int) -> Iterator[str]:
    """What a step's job says that is the steps' own."""
    if job.get("dependency") is not None and spec.before(index):
        yield f"has dependency {job['dependency']!r} in its job, which the order of steps sets"
    env = job.get("env")
    for name in env if isinstance(env, dict) else ():
        # (Once steps are submitted, the file that a record keeps of one may say it.)
        if str(name).startswith("HPCAI_STEP_"):
            yield f"has env.{name} in its job, which says where a step above left its outputs"
    secrets = job.get("secrets")
    references = secrets.values() if isinstance(secrets, dict) else ()
    if job.get("schedule") is not None:
        yield "has a schedule in its job; that of the steps stands beside steps"
    elif spec.schedule is not None and any(str(one).startswith("env:") for one in references):
        yield "has a secret env:, which comes from the environment of whoever submits: a schedule has none"


def _inner(document: Document, path: KeyPath) -> Document:
    """The part of a document below `path` as one of its own, every value at its place in the file."""
    value = document.data
    for part in path:
        value = value[part]
    inner = Document(document.origin, data=dict(value))
    for name in ("keys", "values", "written"):
        outer = getattr(document, name)
        getattr(inner, name).update(
            {known[len(path) :]: found for known, found in outer.items() if known[: len(path)] == path}
        )
    return inner
