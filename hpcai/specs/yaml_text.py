"""YAML text as plain values, with the place of every key and value.

Only what nobody misreads is taken from YAML: `true`, `false`, `null`, decimal numbers.  `yes`, `on`,
`1:30`, `0x10`, `007` and dates are text, so that no value changes its meaning on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from hpcai.specs.mistakes import Mistake

Path = tuple[str | int, ...]
_MAX_VALUES = 20_000
_MAX_DEPTH = 40
_HALF = re.compile("[\ud800-\udfff]")
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Place:
    """Where something stands; `line` and `column` count from 1, None outside files."""

    origin: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}"

    def mistake(self, key: str, message: str) -> Mistake:
        return Mistake(self.origin, self.line, self.column, key, message)


@dataclass
class Document:
    """The values of a YAML text, where each key and value stands, and each scalar as it was written."""

    origin: str
    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def place(self, path: Path, *, of_key: bool = False) -> Place:
        """The place of what is at `path`, or of the nearest thing above it that has one."""
        for length in range(len(path), -1, -1):
            places = (self.keys, self.values) if of_key else (self.values, self.keys)
            for known in places:
                if path[:length] in known:
                    return known[path[:length]]
            of_key = False
        return Place(self.origin)


def key_text(path: Path) -> str:
    """The path as people write it: `data[0].source`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- PyYAML's own name


for _tag, _pattern, _first in (
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse(text: str, origin: str) -> Document:
    """The document in `text`; what is wrong with it is in its `mistakes`."""
    document = Document(origin)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        document.mistakes.append(_syntax_mistake(error, text, origin))
        return document
    except RecursionError:
        document.mistakes.append(Mistake(origin, 1, 1, "", f"holds more than {_MAX_DEPTH} levels"))
        return document
    if root is not None:
        document.data = _Builder(document).build(root, (), 0)
    return document


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        place = self.place(node)
        self.document.values.setdefault(path, place)
        self.values += 1
        if depth > _MAX_DEPTH or self.values > _MAX_VALUES:
            if self.values <= _MAX_VALUES + 1:
                self.values = _MAX_VALUES + 1
                self.mistake(place, path, f"holds more than {_MAX_VALUES} values or {_MAX_DEPTH} levels")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if node.tag not in _PLAIN_TAGS:
            self.mistake(place, path, f"got the tag {node.tag!r}; text, numbers, lists and maps")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        return [self.build(child, (*path, index), depth + 1) for index, child in enumerate(node.value)]

    def mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistake(place, path, "a key must be one word")
                continue
            key = self.text(key_node, path)
            below = (*path, key)
            if below in self.document.keys:
                first = self.document.keys[below]
                self.mistake(place, below, f"is here twice, first in line {first.line}")
                continue
            self.document.keys[below] = place
            mapping[key] = self.build(value_node, below, depth + 1)
        return mapping

    def scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = self.text(node, path)
        self.document.written[path] = text
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        try:
            if tag == "int":
                return int(text)
            if tag == "float":
                return float(text)
        except ValueError:
            pass
        self.mistake(self.place(node), path, f"got the tag {node.tag!r}; text, numbers, lists and maps")
        return text

    def text(self, node: yaml.ScalarNode, path: Path) -> str:
        """The text of a node; JSON writes a character beyond U+FFFF as two halves, which become one."""
        text: str = node.value
        if not _HALF.search(text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.mistake(self.place(node), path, f"got {text!r}, which holds half of a character")
            return _HALF.sub("?", text)

    def place(self, node: yaml.Node) -> Place:
        mark = node.start_mark
        return Place(self.document.origin, mark.line + 1, mark.column + 1)

    def mistake(self, place: Place, path: Path, message: str) -> None:
        self.document.mistakes.append(place.mistake(key_text(path), message))


def _syntax_mistake(error: yaml.YAMLError, text: str, origin: str) -> Mistake:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line = before.count("\n") + 1
        character = chr(error.character) if isinstance(error.character, int) else error.character
        column = len(before) - before.rfind("\n")
        return Mistake(origin, line, column, "", f"got the character {character!r}, which YAML refuses")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Mistake(origin, 1, 1, "", f"is not YAML: {error}")
    context, problem, mark = str(error.context), str(error.problem), error.problem_mark
    if error.context_mark is not None and context.startswith(_BEGUN_EARLIER):
        mark = error.context_mark
    lines = text.splitlines()
    line_text = lines[mark.line] if mark.line < len(lines) else ""
    message = _plain_words(context, problem, line_text)
    return Mistake(origin, mark.line + 1, mark.column + 1, "", message)


# What YAML says of a place where it can go no further, when the mistake is where something began.
_BEGUN_EARLIER = (
    "while scanning a quoted scalar",
    "while scanning a simple key",
    "while parsing a flow sequence",
    "while parsing a flow mapping",
)


def _plain_words(context: str, problem: str, line: str) -> str:
    if context.startswith("while scanning a quoted scalar"):
        return "is not YAML: the quote that begins here is not closed"
    if context.startswith("while parsing a flow"):
        return "is not YAML: the bracket that begins here is not closed"
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or "'\\t'" in problem:
        return "a tab cannot indent YAML; use spaces"
    if "mapping values are not allowed" in problem:
        return f"is not YAML: got {line.strip()!r}; quote a value that holds ': ', and indent one level alike"
    if "could not find expected ':'" in problem:
        return f"is not YAML: got {line.strip()!r}; write 'key: value'"
    if "but found another document" in problem or "expected a single document" in problem:
        return "a second document begins here; one file holds one spec"
    return f"is not YAML: {problem}; got {line.strip()!r}"
