"""Random bash scripts in which every call of the function `p` runs once, each with a number of its own."""

from __future__ import annotations

from itertools import count

from hypothesis import strategies as st

_PLAIN = "ab1./-_=,:%+@~#]{}!^"
_ANY = st.text("ab '\"#$\\`(){};&|<>\n\t*~!", max_size=6)
_BODY = st.text("ab '\"#(){};&|<>\\\t*~!", max_size=8)
_SEPARATORS = (
    "\n",
    ";",
    "; ",
    " && ",
    "&&\n",
    " |",
    " &\n",
    "\n\n",
    " # it's a \"comment\n",
    " ;\n\t",
    " &&\\\n",
)
# What stands around a list of commands and runs it once.
_AROUND = (
    ("{ ", "\n}"),
    ("( ", " )"),
    ("(", ")"),
    ("if [ a = a ]; then ", "; fi"),
    ("if ! { false; } && true\nthen\n", "\nelse echo no; fi"),
    ("if [[ -n a && ( b == c || d =~ ^(d|e)$ ) ]]; then\n", "\nfi"),
    ("if (( (1 + 2) * 3 < 4 )); then :; else ", "; fi"),
    ("for one in x; do ", "; done"),
    ("for (( i = 0; i < 1; i++ )); do\n", "\ndone"),
    ("while :; do ", "\nbreak; done"),
    ("until false; do ", "; break; done"),
    ("case x in y) ;; x|p) ", ";; esac"),
    ("case 'a b' in\n  (a*)\n", "\n  ;;\n  # a comment)\n  *) : ;;\nesac"),
    ("case x in @(x|y)) ", ";;& z) :; esac"),
    # A part of a pipe keeps its functions to itself.
    ("{ f() { ", "; }; f\n}"),
    ("{ function f {\n", "\n}\nf\n}"),
    ("{ f () (", "); f\n}"),
    ("! { ", "\nfalse; }"),
    ("{ time -p ", "\n}"),
    ("NAME=$(", ")"),
    (': a"$( ', ' )"b'),
    (': ${NOTHING:-"$(', ')"}'),
    (": <( ", " )"),
)


def _in_double(text: str) -> str:
    return "".join(f"\\{letter}" if letter in '"$`\\' else letter for letter in text)


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """A part of a word, as it is written."""
    text = draw(_ANY)
    plain = draw(st.text(_PLAIN, min_size=1, max_size=4))
    return draw(
        st.sampled_from(
            (
                plain,
                "'" + text.replace("'", "'\\''") + "'",
                f'"{_in_double(text)}"',
                '"' + text.translate(dict.fromkeys(map(ord, '"$`\\'))) + '\\a"',
                "".join(f"\\{letter}" for letter in text if letter != "\n"),
                "\\\n",
                f"$'{plain}'",
                f'$"{plain}"',
                "$'a\\tb\\''",
                *(
                    "$V",
                    '"$V"',
                    "${V}",
                    '"a${V}b"',
                    "\"${V:-'}'}\"",
                    "${V#'}'}",
                    '"${V:-"}"}"',
                    '"${LIST[@]}"',
                ),
                *("a$((1+(2)*3))", '"$(( (1) ))"', "a`echo '\\`x'`", '"$(echo ")")"', "x$(:)y", "${V/\\}/a}"),
                *("{a,b}", "a{1..3}", "{a,'b c'}d", '"{a,b}"', "$", "a$", '"$"', "a<(:)", "x${#V}"),
            )
        )
    )


@st.composite
def words(draw: st.DrawFn) -> str:
    """A word, as it is written; it begins with a letter or quote."""
    begin = draw(st.sampled_from(("a", "''", "-", "--a=", "=", "/", "a=", "~/", "%", '""', ":")))
    word = begin + "".join(draw(st.lists(pieces(), max_size=3)))
    # Of a `$` and a name in the next line bash makes a variable.
    return word.replace("$\\\n", "$")


_REDIRECTIONS = (
    ">/dev/null",
    "2>&1",
    "2> /dev/null",
    "&>/dev/null",
    "</dev/null",
    "< <(:)",
    "<<< 'a b'",
    ">&2",
    "{fd}>&1",
)


@st.composite
def _calls(draw: st.DrawFn, numbers: count[int]) -> str:
    """One call, with what may stand around it in its line."""
    before = draw(
        st.sampled_from(("", "", "", "NAME=x ", "NAME='x y' OTHER=(a) ", "</dev/null ", "LIST[0+1]=a "))
    )
    given = draw(st.lists(st.one_of(words(), st.sampled_from(_REDIRECTIONS)), max_size=4))
    blank = draw(st.sampled_from((" ", "  ", "\t", " \\\n ")))
    if before.endswith("(a) ") or before.startswith("LIST["):
        before = before.rstrip() + "\n"
    return before + blank.join(("p", str(next(numbers)), *given))


@st.composite
def _documents(draw: st.DrawFn, numbers: count[int]) -> str:
    """A call with here-documents, and the line's end."""
    call = draw(_calls(numbers))
    behind = draw(st.sampled_from(("", " && :", "; :", " | cat", " # a comment")))
    form, name, tab = draw(
        st.sampled_from(
            (
                ("<<E", "E", ""),
                ("<< 'E'", "E", ""),
                ("<<-E", "E", "\t"),
                ('<<"E F"', "E F", ""),
                ("<<\\E", "E", ""),
            )
        )
    )
    lines = draw(st.lists(_BODY, max_size=3))
    body = "".join(f"{line}\n" for line in lines if line.strip("\t") != name)
    if form in ("<<E", "<<-E"):
        # A last line that goes on would swallow the word that ends it.
        body = body.replace("\\\n", "\n") if not body.endswith("\\\n") else body.replace("\\", "")
    return f"{call} {form}{behind}\n{body}{tab}{name}\n"


@st.composite
def _lists(draw: st.DrawFn, numbers: count[int], depth: int) -> str:
    """Commands, one behind the other."""
    text = ""
    for number in range(draw(st.integers(1, 3))):
        if number:
            text += "" if text.endswith("\n") else draw(st.sampled_from(_SEPARATORS))
        kind = draw(st.sampled_from(("call", "call", "document", "around")))
        if kind == "around" and depth:
            begin, end = draw(st.sampled_from(_AROUND))
            inner = draw(_lists(numbers, depth - 1))
            if inner.endswith(("\n", "&")):
                end = end.lstrip("; ") if not end.startswith(";;") else end
            text += f"{begin}{inner}{end}"
        elif kind == "document":
            text += draw(_documents(numbers))
        else:
            text += draw(_calls(numbers))
    return text


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """A whole script."""
    value = draw(st.one_of(st.just("v"), words()))
    elements = draw(st.lists(st.one_of(words(), st.just("\n"), st.just("# a ) comment\n")), max_size=3))
    head = f"V={value}\nLIST=({' '.join(elements)}\n)\n"
    return head + draw(_lists(count(1), 3)) + "\nwait\n"
