"""The recipes of images, as far as they can be looked at without a Docker daemon."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hpcai.launch import horovod_wheel

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "containers").glob("*/Dockerfile"))
# What Horovod's own setup reads.
HOROVOD = {
    *("HOROVOD_WITH_PYTORCH", "HOROVOD_WITHOUT_TENSORFLOW", "HOROVOD_WITHOUT_MXNET", "HOROVOD_WITH_MPI"),
    *("HOROVOD_WITH_GLOO", "HOROVOD_GPU_OPERATIONS", "HOROVOD_NCCL_LINK", "HOROVOD_BUILD_ARCH_FLAGS"),
}


def instructions(recipe: Path) -> list[tuple[str, str]]:
    lines = [line for line in recipe.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.parent.name)
def test_a_recipe_has_known_instructions_and_copies_what_is_there(recipe: Path) -> None:
    found = instructions(recipe)
    assert {word for word, _ in found} <= {"ARG", "FROM", "COPY", "ENV", "RUN", "WORKDIR"}
    sources = [source for word, rest in found if word == "COPY" for source in rest.split()[:-1]]
    assert sources and all((ROOT / source).exists() for source in sources)


@pytest.mark.programs
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.parent.name)
def test_what_it_runs_is_shell(recipe: Path) -> None:
    for word, rest in instructions(recipe):
        if word == "RUN":
            done = subprocess.run(["sh", "-n"], input=rest, capture_output=True, text=True, check=False)
            assert done.stderr == "", rest


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.parent.name)
def test_what_a_build_needs_does_not_stay_in_the_image(recipe: Path) -> None:
    """Whatever a user builds inside would be built with it."""
    kept = {
        name for word, rest in instructions(recipe) if word == "ENV" for name in re.findall(r"(\w+)=", rest)
    }
    assert kept == {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}


def test_horovod_is_built_as_on_this_machine_and_with_nccl() -> None:
    folder = ROOT / "containers/horovod"
    text = (folder / "Dockerfile").read_text()
    assert f'"horovod=={horovod_wheel.VERSION}"' in text
    assert (folder / "toolchain.cmake").read_text() == horovod_wheel.TOOLCHAIN
    assert (folder / "rules.cmake").read_text() == horovod_wheel.RULES
    assert set(re.findall(r"\b(HOROVOD_\w+)=", text)) == HOROVOD
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in text


def test_the_scripts_name_the_image_that_the_recipe_makes() -> None:
    page = (ROOT / "containers/horovod/README.md").read_text()
    (image,) = re.findall(r"enroot import -o (\S+)", page)
    scripts = [path.read_text() for path in (ROOT / "sbatch").glob("resnet50-*-pyxis.sbatch")]
    assert scripts and all(image in script for script in scripts)
