"""What is wrong with the options of Pyxis that a script gives one srun or its #SBATCH lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from hpcai.check import hidden
from hpcai.check.bash.values import Text
from hpcai.check.findings import Finding, Severity
from hpcai.check.script_sruns import Step, own_options
from hpcai.check.script_view import softened
from hpcai.errors import did_you_mean
from hpcai.slurm.plugstack import pyxis_options
from hpcai.specs.container import FLAGS, ContainerSpec
from hpcai.specs.fields import mistakes_of

_PAIRS = (
    ("container-writable", "container-readonly"),
    ("container-mount-home", "no-container-mount-home"),
    ("container-remap-root", "no-container-remap-root"),
    ("container-entrypoint", "no-container-entrypoint"),
)
_ONCE = ("container-image", "container-workdir", "container-name", "container-save")
_SPACES = ("net", "ipc", "uts")
_NAME_FLAGS = ("auto", "create", "exec", "no_exec")
# What Enroot's mount knows besides, from the table in its source.
_MORE_FLAGS = (
    *("async", "atime", "auto", "defaults", "dev", "diratime", "dirsync", "exec", "group", "iversion"),
    *("lazytime", "loud", "mand", "noatime", "noauto", "nodiratime", "nogroup", "noiversion"),
    *("nolazytime", "nomand", "noowner", "norelatime", "nostrictatime", "nouser", "nousers", "owner"),
    *("relatime", "remount", "runbindable", "strictatime", "suid", "sync", "unbindable", "user", "users"),
    *("x-detach", "x-move"),
)
_SAID_TO_TMPFS = re.compile(r"(size|mode|nr_inodes|nr_blocks|uid|gid|mpol|huge)=.+")
_Mistake = tuple[Severity, str, str]


def check_options(step: Step, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Each value that Pyxis or Enroot would refuse, or take and do nothing with."""
    checks = {
        "container-mounts": _mounts,
        "container-env": _env,
        "container-unshare": _unshare,
        "container-name": _name,
    }
    # An importer of the site's own may read other names.
    if "importer" not in pyxis_options(environ):
        checks["container-image"] = _image
    for option, check in checks.items():
        for text in step.options.get(option, ()):
            for severity, what, fix in check(text):
                finding = Finding("container-option-wrong", severity, f"--{option}", what, fix, text.at)
                yield softened(finding, is_sure=step.is_sure and text.is_sure)
    yield from _together(step)
    yield from _hidden(step)


def _hidden(step: Step) -> Iterator[Finding]:
    for text in step.options.get("container-mounts", ()):
        if text.is_known and step.folder is not None:
            for _, what in hidden.hidden(text.text.split(","), str(step.folder)):
                yield Finding("mount-hidden", "warning", "--container-mounts", what, hidden.FIX, text.at)


def _together(step: Step) -> Iterator[Finding]:
    for one, other in _PAIRS:
        if one in step.options and other in step.options:
            what = f"--{one} and --{other} exclude each other: Pyxis refuses the step."
            at = step.options[other][0].at
            finding = Finding("container-option-wrong", "error", f"--{other}", what, "Leave one out.", at)
            yield softened(finding, is_sure=step.is_sure)
    for option in _ONCE:
        given = step.options.get(option, ())
        if len({text.text for text in given}) > 1 and all(text.is_known for text in given):
            what = f"--{option} is given more than once: Pyxis refuses the step."
            finding = Finding(
                "container-option-wrong", "error", f"--{option}", what, "Leave all but one out.", given[-1].at
            )
            yield softened(finding, is_sure=step.is_sure)


def _image(text: Text) -> Iterator[_Mistake]:
    # `x.sqsh` without a slash is a finding of its own.
    if text.is_known:
        yield from _refused("image", text.text)


def _mounts(text: Text) -> Iterator[_Mistake]:
    for mount in text.text.split(","):
        if not Text(mount, 0, 0).is_known:
            continue
        if not mount:
            yield "error", f"Pyxis refuses {text.text!r}: a mount is empty.", "Join mounts by one comma each."
            continue
        source, *rest = mount.split(":", 2)
        if len(rest) == 2:
            yield from _flags(mount, source, rest[1].split("+"))
        yield from _refused("mounts", ":".join([source, *rest[:1]]))


def _flags(mount: str, source: str, flags: Sequence[str]) -> Iterator[_Mistake]:
    for flag in flags:
        is_own = source == "tmpfs" and _SAID_TO_TMPFS.fullmatch(flag)
        if flag and flag not in (*FLAGS, *_MORE_FLAGS) and not is_own:
            what = f"{mount!r} has no flag {flag!r}: Pyxis takes it, and nothing comes of it."
            fix = did_you_mean(flag, FLAGS) or "Flags such as ro, rw, nosuid and nofail are joined by +."
            yield "warning", what, fix
    if {"ro", "rw"} <= set(flags):
        yield "warning", f"{mount!r} is to be both ro and rw.", "Leave one out."


def _refused(key: str, text: str) -> Iterator[_Mistake]:
    """What the form of a job's `container:` says against a value."""
    if key == "mounts" and text.startswith("~"):
        # In a job's file it is the home folder; bash leaves it where it does not begin a word.
        yield "error", f"Pyxis refuses {text!r}.", "Write $HOME for ~, which no shell reads here."
        return
    given = {"image": "image"} | {key: [text] if key == "mounts" else text}
    for message in mistakes_of(ContainerSpec, given).values():
        said = message.partition("; ")[2] or "it has another form"
        yield "error", f"Pyxis or Enroot refuses {text!r}.", f"Correct it: {said}."


def _env(text: Text) -> Iterator[_Mistake]:
    names = text.text.split(",")
    if "" in names:
        yield "error", f"Pyxis refuses {text.text!r}: a name is empty.", "Names are joined by one comma each."
    for name in names:
        if name and Text(name, 0, 0).is_known and not re.fullmatch(r"[A-Za-z_]\w*", name):
            what = f"{name!r} is no variable's name, and Pyxis passes it over."
            yield "warning", what, "Export the variable, and give its name alone."


def _unshare(text: Text) -> Iterator[_Mistake]:
    for name in text.text.split(",") if text.is_known else ():
        if name not in _SPACES:
            yield "error", f"Pyxis has no namespace {name!r}.", f"There are {', '.join(_SPACES)}."


def _name(text: Text) -> Iterator[_Mistake]:
    name, colon, flag = text.text.partition(":")
    if not name or "/" in name:
        yield "error", f"Enroot refuses the name {name!r}.", "A name is not empty and holds no slash."
    if colon and flag and Text(flag, 0, 0).is_known and flag not in _NAME_FLAGS:
        fix = f"Of a name's flags there are {', '.join(_NAME_FLAGS)}."
        yield "error", f"Pyxis has no flag {flag!r} of a name.", fix


def check_unused(step: Step, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Options of Pyxis without the image or name that alone makes it do anything."""
    asked = [name for name, _ in own_options(step) if name.startswith("container-")]
    is_named = any(
        name in step.options or f"PYXIS_{name.upper().replace('-', '_')}" in environ
        for name in ("container-image", "container-name")
    )
    if not asked or is_named or not step.is_complete:
        return
    what = f"Without an image Pyxis ignores --{asked[0]}: the step runs on the node itself."
    fix = "Add --container-image to the same srun, or leave the option out."
    finding = Finding(
        "container-options-unused", "error", f"--{asked[0]}", what, fix, step.options[asked[0]][0].at
    )
    yield softened(finding, is_sure=step.is_sure)
