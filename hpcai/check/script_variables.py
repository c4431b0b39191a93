"""What a script exports to the images of its steps, and what these would make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hpcai.check import container
from hpcai.check.findings import Finding
from hpcai.check.script_sruns import Step
from hpcai.check.script_view import View

_VISIBLE = "NVIDIA_VISIBLE_DEVICES"


def check_variables(view: View) -> Iterator[Finding]:
    """One finding for all variables of all steps, and one for the GPUs."""
    steps = list(_with_images(view))
    missing = [(step, _missing(step, is_of_nvidia)) for step, is_of_nvidia in steps]
    missing = [(step, names) for step, names in missing if names]
    if missing:
        yield _image_wins([step for step, _ in missing], [name for _, each in missing for name in each])
    for step, is_of_nvidia in steps:
        found = list(_gpus(view, step, is_of_nvidia))
        if found:
            yield found[0]
            return


def _with_images(view: View) -> Iterator[tuple[Step, bool]]:
    """The steps in containers, each with whether NVIDIA made its image, by its name or its container's."""
    of_name: dict[str, bool] = {}
    for _, step in view.steps:
        image, name = step.value("container-image"), step.value("container-name")
        if image is None and name is None:
            continue
        key = name.text.partition(":")[0] if name is not None else ""
        is_of_nvidia = of_name.get(key, False)
        if image is not None:
            is_of_nvidia = container.OF_NVIDIA.match(image.text) is not None
        of_name |= {key: is_of_nvidia} if key else {}
        yield step, is_of_nvidia


def _missing(step: Step, is_of_nvidia: bool) -> list[str]:
    """The variables that the step's image may have a value of its own for."""
    given = step.options.get("container-env", ())
    passes_on = step.value("export")
    if not (step.is_complete or given) or not all(text.is_known for text in given):
        return []
    if passes_on is not None and not passes_on.text.upper().startswith("ALL"):
        return []
    named = set(_named(step))
    tuning = [name for name in step.exported if container.TUNING.fullmatch(name) and name not in named]
    return [name for name in tuning if not (is_of_nvidia and name == _VISIBLE)]


def _named(step: Step) -> list[str]:
    return [name for text in step.options.get("container-env", ()) for name in text.text.split(",") if name]


def _image_wins(steps: list[Step], names: list[str]) -> Finding:
    names = list(dict.fromkeys(names))
    every = dict.fromkeys([*(name for step in steps for name in _named(step)), *names])
    listed = f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"
    wins = "it too, the image's value wins" if len(names) == 1 else "them too, the image's values win"
    lines = list(dict.fromkeys(step.at.partition(":")[0] for step in steps))
    where = f" (sruns of lines {', '.join(lines)})" if len(lines) > 1 else ""
    what = f"{listed} exported, and where the image sets {wins}{where}."
    fix = f"--container-env={','.join(every)}"
    return Finding("image-wins", "warning", "--container-env", what, f"Give srun {fix}", steps[0].at)


def _gpus(view: View, step: Step, is_of_nvidia: bool) -> Iterator[Finding]:
    visible = step.exported.get(_VISIBLE)
    if (is_of_nvidia and visible is None) or (visible is not None and not visible.is_known):
        return
    known = {name: text.text for name, text in step.exported.items() if text.is_known}
    named = ("gpus", "gpus-per-node", "gpus-per-task", "gres")
    has_gpus = any(view.script.option(name) is not None or name in step.options for name in named)
    for finding in container.gpus_in_container(known, has_gpus, "--container-env"):
        yield replace(finding, fix="Export it as all.", place=step.at)
