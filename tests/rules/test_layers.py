"""The layers of the house: each imports only from those to its left, neighbours never each other."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hpcai"

LAYERS = (
    "errors units homes entry | shell processes files | catalog | specs | runs render staging language "
    "| train slurm cyclecloud | launch check health | jobs | cluster sweep | bench compat "
    "| report studio | cli"
)
LEVEL = {name: level for level, group in enumerate(LAYERS.split("|")) for name in group.split()}

# Third-party library -> the parts that may import it. What is not named here may not be imported.
HOMES = {
    "azure": {"staging"},
    "click": {"cli"},
    "cloudpickle": {"launch"},
    "horovod": {"train"},
    "jinja2": {"render", "report"},
    "matplotlib": {"report"},
    "mpi4py": {"health"},
    "numpy": {"report", "runs", "staging", "train", "bench"},
    "obstore": {"staging"},
    "PIL": {"staging", "train"},
    "pydantic": {"specs"},
    "pydantic_core": {"specs"},
    "pyslurm": {"slurm"},
    "rich": {"cli"},
    "simplejpeg": {"train"},
    "submitit": {"launch"},
    "torch": {"train"},
    "xxhash": {"staging"},
    "yaml": {"specs"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """`hpcai.slurm.local.cluster` -> `slurm`; the package itself and `__main__` -> `cli`."""
    words = module.split(".")
    return words[1] if len(words) > 1 and words[1] != "__main__" else "cli"


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "hpcai":
                yield from (f"hpcai.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_to_the_left(path: Path) -> None:
    mine = part_of(name_of(path))
    wrong = []
    for target in imports_of(path):
        if not target.startswith("hpcai."):
            continue
        theirs = part_of(target)
        if theirs != mine and LEVEL[theirs] >= LEVEL[mine]:
            wrong.append(f"{name_of(path)} ({mine}) imports {target} ({theirs})")
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_third_party_library_has_one_home(path: Path) -> None:
    mine = part_of(name_of(path))
    outside = {target.split(".")[0] for target in imports_of(path)} - {"hpcai"} - sys.stdlib_module_names
    assert not [library for library in outside if mine not in HOMES.get(library, set())]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_shell_starts_processes(path: Path) -> None:
    if name_of(path) != "hpcai.shell":
        assert "subprocess" not in set(imports_of(path))


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_package_init_re_exports_nothing(path: Path) -> None:
    if name_of(path) in ("hpcai", "hpcai.cli"):
        return
    body = ast.parse(path.read_text()).body
    assert all(isinstance(node, (ast.Expr, ast.ImportFrom)) for node in body)
    assert not [module for module in imports_of(path) if module != "__future__"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_the_layers_are_told_to_contributors() -> None:
    told = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert LAYERS in told
