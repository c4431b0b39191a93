"""A file of steps, with the job of each step loaded through the same door as a job's own file."""

from __future__ import annotations

from pathlib import Path

from hpcai.errors import NotFoundError
from hpcai.specs.job import JobSpec
from hpcai.specs.load import Opened, document_of, lay, open_text, read, validated
from hpcai.specs.mistakes import Mistake, SpecFileError
from hpcai.specs.settings import Settings
from hpcai.specs.steps import Step, Steps, StepSpec, StepsSpec
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
    spec = validated(document, base)
    assert isinstance(spec, StepsSpec)
    mistakes: list[Mistake] = []
    found: list[Step] = []
    for index, step in enumerate(spec.steps):
        try:
            opened = _job(document, index, step, base, settings)
        except SpecFileError as error:
            mistakes += error.mistakes
            continue
        except NotFoundError as error:
            path: KeyPath = ("steps", index, "file")
            mistakes.append(
                document.place(path).mistake(key_text(path), f"got {str(step.file)!r}: {error.what}")
            )
            continue
        job = opened.spec
        assert isinstance(job, JobSpec)
        if job.dependency is not None and spec.before(index):
            path = ("steps", index)
            what = f"has dependency {job.dependency!r} in its job, which the order of steps sets"
            mistakes.append(document.place(path).mistake(key_text(path), what))
        path = ("steps", index)
        if job.schedule is not None:
            what = "has a schedule in its job; that of the steps stands beside steps"
            mistakes.append(document.place(path).mistake(key_text(path), what))
        elif spec.schedule is not None and any(one.startswith("env:") for one in job.secrets.values()):
            what = (
                "has a secret env:, which comes from the environment of whoever submits: a schedule has none"
            )
            mistakes.append(document.place(path).mistake(key_text(path), what))
        named = job.model_copy(update={"name": f"{spec.name}-{step.name}", "experiment": spec.experiment})
        found.append(Step(step.name, named, spec.before(index), step.when, opened.document))
    if mistakes:
        raise SpecFileError(mistakes)
    return Steps(spec.name, spec.experiment, tuple(found), spec.schedule)


def _job(document: Document, index: int, step: StepSpec, base: Path, settings: Settings | None) -> Opened:
    if step.file is not None:
        path = base / step.file.expanduser()
        return open_text(
            read(path), str(path), step.set, settings=settings, base=path.absolute().parent, only=JobSpec
        )
    inside = _inner(document, ("steps", index, "job"))
    inside.data = {"kind": "job", "name": step.name, **inside.data}
    lay(inside, settings, ())
    return Opened(validated(inside, base), inside)


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
