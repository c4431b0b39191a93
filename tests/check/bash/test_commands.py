"""Shell texts taken apart into the programs that they start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.check.bash.commands import read_commands
from hpcai.check.bash.words import UNKNOWN

# A text, and each program with how deep it lies and whether what stands before decides about it.
TEXTS = [
    ("srun hostname", ["srun"]),
    ("cd x && A=1 timeout 5 mpirun -np 2 ./a > o 2>&1 | tee log", ["cd", "mpirun", "tee"]),
    ("if [ $X = 0 ]; then\n  srun a\nfi\npython b", ["[ 1", "srun 1", "python"]),
    ("[[ $A == 1 && -f x ]] && torchrun x\nsrun b", ["[[", "torchrun ?", "srun"]),
    ("cat <<E >f.py\nsrun x\nE\npython f.py", ["cat", "python"]),
    ("cat <<-'E'\n\tsrun x\n\tE\npython f.py", ["cat", "python"]),
    ("for i in 1 2; do srun $i; done; echo x", ["for 1", "srun 1", "echo"]),
    ("echo $(srun x) `a b`; echo \"a;b\" 'srun'", ["srun 1", "echo", "echo"]),
    ("f() { srun x; }\nf", ["srun 1", "f"]),
    ("a || srun b", ["a", "srun ?"]),
    ("a \\\n  b # srun\nc", ["a", "c"]),
    ("(cd x; srun b) && c", ["cd 1", "srun 1", "c"]),
    ("case $1 in a) srun x;; *) y;; esac; z", ["case 1", "srun 1", "y 1", "z"]),
    ("x=$((1+2)) /usr/bin/srun y", ["srun"]),
    ('python - <<< "x"; ! exec srun a', ["python", "srun"]),
    ('"$SHELL" x; A=1', [None, None]),
    ('echo "unclosed', []),
    ("echo `unclosed", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "programs"), TEXTS, ids=[text for text, _ in TEXTS])
def test_the_programs_of_a_text(text: str, programs: list[str | None]) -> None:
    told = [
        one.program
        and one.program + (f" {one.depth}" if one.depth else "") + (" ?" if one.may_be_skipped else "")
        for one in read_commands(text)
    ]
    assert told == programs


def test_a_name_before_braces_is_another_name_to_bash() -> None:
    [command] = read_commands("srun $A{b,c} $A/{b,c}")
    assert [word.text for word in command.words] == ["srun", UNKNOWN, f"{UNKNOWN}/{UNKNOWN}"]


@given(st.text("ab \n;&|()<>'\"\\`$#{}![]=EO", max_size=40))
def test_any_text_can_be_looked_at(text: str) -> None:
    assert len(read_commands(text)) <= len(text)
