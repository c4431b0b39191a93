"""The public names: `hpcai.__all__` is what `import hpcai` gives, and it gives it lazily."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hpcai


def test_all_is_sorted_and_importable() -> None:
    names = [name for name in hpcai.__all__ if name != "__version__"]
    assert names == sorted(names)
    for name in hpcai.__all__:
        assert getattr(hpcai, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'executer'"):
        _ = hpcai.executer  # type: ignore[attr-defined]


@pytest.mark.programs
def test_importing_hpcai_loads_nothing_heavy() -> None:
    code = "import sys, hpcai; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"click", "pydantic", "yaml", "torch", "numpy", "azure", "obstore", "rich"} & set(loaded)
