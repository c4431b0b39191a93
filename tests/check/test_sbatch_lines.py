"""#SBATCH lines as sbatch reads them; a real sbatch is held to the same lines in tests/cli."""

from __future__ import annotations

import pytest

from hpcai.check.command import script_of
from hpcai.check.sbatch_lines import read_script
from tests.check.sbatch_cases import NAMES


@pytest.mark.parametrize(("line", "name"), NAMES)
def test_the_value_of_a_line(line: str, name: str) -> None:
    assert read_script(f"#!/bin/bash\n{line}\n").value("job-name") == name


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("-N2 -n 4", [("nodes", "2"), ("ntasks", "4")]),
        ("--exclusive -Hv -t5", [("exclusive", None), ("hold", None), ("verbose", None), ("time", "5")]),
        ("--exclusive=user", [("exclusive", "user")]),
        ("--gpus-per-n 8", [("gpus-per-node", "8")]),
        (
            "--container-image a --container-writable",
            [("container-image", "a"), ("container-writable", None)],
        ),
        ("hetjob", []),
        ("-p", [("partition", None)]),
    ],
)
def test_the_options_of_a_line(line: str, options: list[tuple[str, str | None]]) -> None:
    assert [(one.name, one.value) for one in read_script(f"#SBATCH {line}\n").options] == options


def test_the_parts_of_a_heterogeneous_job() -> None:
    text = "#SBATCH -A mine -t 5 -N 1\n#SBATCH hetjob\n#SBATCH -N 2 -t 6\n#SBATCH hetjob\n#SBATCH -p gpu\n"
    script = read_script(text)
    told = [{one.name: one.value for one in part.options} for part in script.parts]
    # What Slurm carries on to the parts behind it, and what each has for itself.
    assert [part.value("time") for part in script.parts] == ["5", "6", "6"]
    assert [part.get("account") for part in told] == ["mine"] * 3
    assert [part.get("nodes") for part in told] == ["1", "2", None]
    assert script.value("nodes") == "1"


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("python -u train.py --lr 1", "train.py"),
        ("A=1 B=2 torchrun --nproc-per-node 8 a/b.py", "a/b.py"),
        ("./run", "./run"),
        ("/usr/bin/env python x.py", "x.py"),
        ("bash run.sh | tee log", "run.sh"),
        ("python -m pkg.train x.py", None),
        ("cd a && python x.py", None),
        ("python $HERE/x.py", None),
        ("echo x.py", None),
        ("make test.sh", None),
        ("rm -f x.py", None),
        ("/opt/tool x.py", None),
        ("python3.12 x.py", "x.py"),
        ("x.py --lr 1", "x.py"),
        ("'unclosed", None),
        ("", None),
    ],
)
def test_the_script_that_a_command_starts(command: str, script: str | None) -> None:
    assert script_of(command) == script
