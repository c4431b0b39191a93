from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from hpcai.render.compiled import compiled_templates


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of compiled templates of a user who has none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert compiled_templates() is not None
    (folder,) = (tmp_path / "cache/hpcai/templates").iterdir()
    return folder


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "a.j2").write_text("nodes: {{ nodes }}")
    return folder


def rendered(templates: Path) -> str:
    """What a process that begins now makes of the template."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), bytecode_cache=compiled_templates(), autoescape=False
    )
    return made.get_template("a.j2").render(nodes=2)


def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that are compiled from here on."""
    seen: list[str] = []
    generate = jinja2.Environment._generate

    def noted(
        self: jinja2.Environment, source: object, name: str, *rest: object, **options: object
    ) -> object:
        seen.append(name)
        return generate(self, source, name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(jinja2.Environment, "_generate", noted)
    return seen


def test_a_template_is_compiled_once_and_anew_when_it_changed(
    kept: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = compiles(monkeypatch)
    assert (rendered(templates), rendered(templates)) == ("nodes: 2", "nodes: 2")
    assert seen == ["a.j2"]
    (templates / "a.j2").write_text("now {{ nodes }}")
    assert rendered(templates) == "now 2"
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("left", [0, 20, -40])
def test_what_was_cut_off_is_compiled_anew(kept: Path, templates: Path, left: int) -> None:
    rendered(templates)
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:left])
    assert rendered(templates) == "nodes: 2"


def test_a_folder_that_can_no_longer_be_written_costs_only_time(kept: Path, templates: Path) -> None:
    compiled = compiled_templates()
    kept.rmdir()
    kept.write_text("not a folder")
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), bytecode_cache=compiled, autoescape=False
    )
    assert made.get_template("a.j2").render(nodes=2) == "nodes: 2"
    assert compiled_templates() is None


def test_code_that_others_may_have_written_is_not_run(kept: Path) -> None:
    kept.chmod(0o777)
    assert compiled_templates() is None
