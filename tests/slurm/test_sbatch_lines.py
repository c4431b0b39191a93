"""#SBATCH lines as sbatch reads them; a real sbatch is held to the same lines in tests/cli."""

from __future__ import annotations

import pytest

from hpcai.check.command import script_of
from hpcai.slurm.sbatch_lines import read_script
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


def test_lines_of_the_body_are_joined_and_comments_left_out() -> None:
    script = read_script("#!/bin/bash\n# no\n\nsrun \\\n  --mpi=pmix a\nb \\")
    assert script.body == ((4, "srun    --mpi=pmix a"), (6, "b  "))


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
