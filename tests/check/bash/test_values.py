"""The words that are read off a script, held against those that bash gives to srun."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.check.bash.commands import read_commands
from hpcai.check.bash.values import calls_of
from hpcai.check.bash.words import UNKNOWN

# Each is read as a whole: all that is asked of the reader is what bash itself then does.
KNOWN = (
    "srun -N 2 hostname",
    "srun --a='x y' \"b c\" d\\ e ''",
    "A=x; B=$A/y; srun $A ${B} \"$A $B\" '$A' \\$A a${A}b",
    "A='x  y'; srun $A \"$A\" z$A",
    'A=(x \'y z\' "w"); srun "${A[@]}" $A',
    "A=(x)\nA+=(y 'z w')\nsrun \"${A[@]}\"",
    "A=x; A+=y; srun $A",
    "A=(x 'y z' '' w); srun ${A[@]} b",
    'A=(x \'y z\'); B="a ${A[@]}"; srun $B "$B"',
    'A=x; A="$A,y"; srun $A; A=z; srun $A',
    'A=; srun $A "$A" b$A $A$A c',
    "export A=x B='y z'; srun $A \"$B\"",
    "export A=x B=y; export A=z B=$A C=$B; D=$A E=$D; srun $A $B $C $E",
    "declare -r A=x; readonly B=y; srun $A $B",
    "srun a \\\n  b \\\n  c",
    "srun a # b\nsrun c#d",
    'A=(\n  x  # a comment\n\n  y\n)\nsrun "${A[@]}" z',
    "cat >/dev/null <<END\nsrun no\nEND\nsrun yes",
    "cat >/dev/null <<-'END'\n\tsrun no\n\tEND\nsrun yes",
    "cat >/dev/null <<A; cat >/dev/null <<B\nsrun no\nA\nsrun no\nB\nsrun yes",
    "cat <<< 'srun no' >/dev/null; srun yes",
    "echo 'srun no' >/dev/null; : \"\nsrun no\n\"; srun yes",
    "if [[ -n x && ( -z y || -n z ) ]]; then srun a; else :; fi",
    "A=x; if true; then srun $A; fi",
    "case x in (x) srun a ;; esac; case y in y | z) srun b ;; esac",
    "f() { :; }; function g { :; }; srun a",
    "A=x; f() { srun $A; }; f",
    "A=x; ( srun $A ); { srun $A; }",
    "srun ~ ~/x --y=~/z",
    "A=~/x:~/y; srun $A",
    "srun $'a b' a=b",
    "srun a 2>&1 >/dev/null | cat; srun b &>/dev/null; srun c",
    "true && srun a || srun no; srun b",
    "A=$(srun x >&3); srun y",
    "A=x\nsrun ${A}_$A-${A}",
    "(( 1 < 2 )) && srun a; for (( ; ; )); do break; done; srun b",
    "while read -r line; do :; done < <(true); srun y",
    'cd /; srun $PWD; cd tmp && srun "$PWD"',
    "time srun a; ! srun b; exec srun c",
    "time -p srun a; coproc srun b; wait",
    "A=1; echo >/dev/null \"${A:-it's '}'}\" ${A#'}'} \"${A:-\"}\"}\"; srun '${A' a; srun b",
    "srun a; : $(( (1 + 2) * $(srun b; echo 3) )) $(( 1 << 2 )); ((A = (1 + 2))); srun c",
    "for i in 1; do case $i in srun|x) srun no ;; (1) srun a ;; esac; done; srun b",
    "shopt -s extglob\ncase x in\n  # srun) in a comment\n  @(x|y)) srun a ;;&\n  *) srun b\nesac\nsrun c",
    '[[ " ]] " == " ]] " && a =~ ^(a|b)$ ]] && srun a; srun b',
    "cat >/dev/null <<E; srun a\n\\\nE\nsrun x\ncat <<E >/dev/null\nb \\\nE\nE\nsrun b",
    'A[$((1+1))]=x; declare -A B=([a]=b [c]="d e"); srun a',
    "shopt -s extglob\necho >/dev/null !(x|y).z; srun a {fd}>/dev/null b",
    "srun a=~/x:~/y ~/z:~ $\"b c\"; : `echo '\\`srun'`d; srun e",
    "cat <(srun a) >/dev/null; wait; sleep 0.1; srun --x=b",
    "{ srun a; } > told2; ( srun b ) & wait; f() ( srun c ); f >& told3",
    "A='{x,y}'; B={x,y}; srun $A $B '{a,b}' \"{a..b}\" {a",
    "srun a; exit\nsrun no",
    "[[ x =~ ^(#|x)$ ]] && srun a\nsrun b; [[ -n x && # a ]] comment\n  -n y ]] && srun c",
    "A=2; (( A == 2 && A <= 3 && A >= 1 && A != 0 )) && srun $A",
    "A='a b'; while IFS=, read -r B; do :; done < /dev/null; srun $A",
)
# Of these something must not be known, and nothing may be known wrongly.
UNSURE = (
    'A=x; [ -z "$1" ] || A=$1; srun $A',
    "A=x; if false; then A=y; fi; srun $A",
    "srun $A; A=x",
    "A=x; f() { A=y; }; f; srun $A",
    "A=x; read -r A <<< y; srun $A",
    "for A in x y; do srun $A; done",
    "A=${B:-x}; srun $A",
    "A=x; B=$(echo $A); srun $B",
    "A=x; unset A; srun $A",
    "A=x; printf -v A y; srun $A",
    "A=x; srun ${A^^} ${A%x}",
    "srun a{b,c} {1..3}",
    "A='*'; srun $A",
    "A=x; while true; do srun $A; A=y; break; done; srun $A",
    "A=x; : ${A:=y} ${C:=z}; C=w; srun $C",
    'A=(x y); A[1]=z; srun "${A[@]}"',
    'A=([1]=x [0]=y); srun "${A[@]}"',
    "srun {a,'b c'}d",
    "declare -i A=1+1; srun $A",
    "declare -l A=X; srun $A",
    "A=1; (( A++ )); srun $A",
    "A=1; let A+=1; srun $A",
    "A=1; B=$((A++)); srun $A; C=1; D=(${C:=x} $((++C))); srun $C",
    "A=8; (( A %= 3 )); srun $A; B=1; (( B <<= 2 )); srun $B; (( ++B )); srun $B",
    "A=1; echo $((A = 2)) > f$((B = 3)); srun $A; B=1; srun $B",
    "A=a,b; IFS=,; srun $A",
    "A=x; declare -n B=A; B=y; srun $A",
    "A=x; A=y true; srun $A",
    'A=(x y); srun "--a=${A[@]}" --b${A[@]}c',
    'mapfile -t A <<< x; A+=(y); srun "${A[@]}"',
    "A=x | cat; srun $A",
    "A=x; ( A=y ); srun $A",
    'srun $1 "$@" $# $$ $?',
    "A=$((1+1)); srun $A `echo x`",
    "cd / && cd tmp || cd var; srun $PWD",
    "for i in 1 2; do srun $PWD; cd /; done",
    "f() { srun $PWD; }; cd /; f",
    "( cd / ); srun $PWD; f() { cd /tmp; }; f; srun $PWD",
    "A='a\\b'; srun $'x\\ty' $A",
)


def of_bash(script: str, folder: Path) -> list[list[str]]:
    """What bash gives to srun, call by call."""
    told = folder / "told"
    told.touch()
    (folder / "bin").mkdir()
    program = folder / "bin/srun"
    program.write_text("#!/bin/bash\n{ printf '%s\\0' \"$@\"; printf '\\1'; } >> \"$TOLD\"\n")
    program.chmod(0o755)
    environ = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": "/home/me", "TOLD": str(told)}
    subprocess.run(
        ["bash", "-c", "exec 3>/dev/null\n" + script], env=environ, cwd=folder, check=False, timeout=20
    )
    return [call.split("\0")[:-1] for call in told.read_text().split("\1")[:-1]]


def as_read(script: str, folder: Path) -> list[list[str]]:
    found = []
    for call in calls_of("exec 3>/dev/null\n" + script, folder, {"HOME": "/home/me"}):
        words = [word.text for word in call.words if word.text not in ("time", "!", "exec")]
        if words[:1] == ["srun"]:
            found.append(words[1:])
    return found


@pytest.mark.programs
@pytest.mark.parametrize("script", KNOWN)
def test_what_is_known_is_what_bash_gives(script: str, tmp_path: Path) -> None:
    given = of_bash(script, tmp_path)
    assert given
    # What only one branch of a script runs is read all the same.
    assert [words for words in as_read(script, tmp_path) if words != ["no"]] == given


@pytest.mark.programs
@pytest.mark.parametrize("script", UNSURE)
def test_nothing_is_known_wrongly(script: str, tmp_path: Path) -> None:
    given, read = of_bash(script, tmp_path), as_read(script, tmp_path)
    known = {word for words in read for word in words if UNKNOWN not in word}
    assert known <= {word for words in given for word in words}
    assert any(UNKNOWN in word for words in read for word in words) or read == given


@pytest.mark.parametrize(
    "text", ["srun a\necho 'open", 'srun a\necho "$(', "srun a\nA=(", "srun a\necho ${x"]
)
def test_what_nothing_closes_is_not_read(text: str) -> None:
    assert [word.bare for word in read_commands(text)[0].words] == ["srun", "a"]


def test_places_are_those_of_the_words() -> None:
    [call] = calls_of("A=(x\n  y)\nsrun 'b' \"${A[@]}\" $C", Path("/"), {})
    assert [word.at for word in call.words] == ["3:1", "3:6", "1:4", "2:3", "3:20"]


@given(st.lists(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])), min_size=1))
def test_what_is_quoted_is_read_as_it_was(words: list[str]) -> None:
    quoted = " ".join(shlex.quote(word) for word in words)
    calls = calls_of(f'A=({quoted})\nB={shlex.quote(words[0])}\nsrun {quoted} "${{A[@]}}" "$B"\n', None, {})
    assert [word.text for word in calls[-1].words] == ["srun", *words, *words, words[0]]
