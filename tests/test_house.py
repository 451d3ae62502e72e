"""The house around the code: what its pages say holds, and its environment is made safely."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

import medblip
from medblip.cli import app
from medblip.notice import RESEARCH_USE
from medblip.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *(ROOT / n for n in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
PAGES += sorted((ROOT / "docs").glob("*.md"))
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
MAX_BYTES = 5 * 1000 * 1000

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> Iterator[list[str]]:
    """The shell lines of a page that call medblip, as arguments."""
    fenced = [line for block in blocks(text, "sh") for line in block.splitlines()]
    quoted = re.findall(r"`(medblip [^`\n]*)`", text)
    for line in [*fenced, *quoted]:
        words = shlex.split(line.replace("...", ""))
        if words[:1] == ["medblip"]:
            yield words[1:]


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_first_screen_has_exactly_the_two_commands() -> None:
    first_screen = README.read_text("utf-8").split("\n## ")[0]
    assert first_screen.count("```") == 2
    (commands,) = blocks(first_screen, "sh")
    assert commands.splitlines() == ["make demo", "make test"]
    assert len(first_screen.splitlines()) <= 25


def test_the_research_use_sentence_is_in_the_readme() -> None:
    text = re.sub(r"[\s>]+", " ", README.read_text("utf-8"))
    assert RESEARCH_USE in text


def test_every_file_names_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert project["version"] == str(citation["version"]) == medblip.__version__
    assert f"## {medblip.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_citation_is_that_of_the_paper() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["preferred-citation"]
    assert [a["family-names"] for a in paper["authors"]] == ["Chen", "Hong"]
    assert paper["title"] in re.sub(r"[\s>]+", " ", README.read_text("utf-8"))


@page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {target}"


@page
def test_commands_on_the_pages_exist_with_their_options(page: Path) -> None:
    for words in shell_lines(page.read_text("utf-8")):
        name = next((word for word in words if not word.startswith("-")), None)
        if name is None:
            continue
        assert name in COMMANDS, f"{page.name}: medblip {shlex.join(words)}"
        command = COMMANDS[name]
        following = words[words.index(name) + 1 :]
        if hasattr(command, "commands") and following:  # a group: the next word names one of it
            command = command.commands[following[0]]
        known = {o for p in command.params for o in (*p.opts, "--help")}
        used = {word.split("=")[0] for word in words if word.startswith("-")}
        assert used <= known, f"{page.name}: medblip {shlex.join(words)}"


@page
def test_python_on_the_pages_parses_and_its_imports_exist(page: Path) -> None:
    for block in blocks(page.read_text("utf-8"), "python"):
        tree = ast.parse(block)
        imports: list[ast.stmt] = [
            n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        assert imports
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})  # noqa: S102


def test_the_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `medblip ([a-z-]+)` \|", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_shows_an_example_that_the_command_understands(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Example: medblip {name}" in " ".join(re.sub(r"[│\s]+", " ", shown.output).split())
    text = COMMANDS[name].help or ""
    examples = [words for words in shell_lines(text) if words[0] == name]
    assert examples
    for words in examples:
        COMMANDS[name].make_context(name, words[1:])  # raises what a user would see


def test_the_recipe_page_names_every_key() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    told = set(re.findall(r"`([a-z_.]+)`", text))
    for key in recipe_keys(Recipe):
        assert any(key == name or key.endswith(f".{name}") for name in told), key


def recipe_keys(section: type[BaseModel]) -> Iterator[str]:
    """Dotted names of all settings below a section."""
    for name, field in section.model_fields.items():
        options = getattr(field.annotation, "__args__", (field.annotation,))
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        for below in inner:
            yield from (f"{name}.{key}" for key in recipe_keys(below))
        if not inner:
            yield name


def test_recipes_on_the_page_are_recipes(tmp_path: Path) -> None:
    shown = blocks((ROOT / "docs" / "recipes.md").read_text("utf-8"), "yaml")
    assert shown
    for block in shown:
        (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
        load_recipe(tmp_path / "shown.yaml")


def test_codes_that_are_explained_exist() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "src").rglob("*.py"))
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    codes = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", rows))
    assert len(codes) > 40
    missing = {code for code in codes if f'"{code}"' not in source}
    assert missing <= {"python-venv", "fetch-weights"}


def test_no_large_file_is_tracked() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone, so nothing is tracked")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert files
    large = [f.name for f in files if f.is_file() and f.stat().st_size > MAX_BYTES]
    assert large == []


# ---------------------------------------------------------------- scripts/environment.py


def make_environment(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where it must stop before anything is installed."""
    command = [sys.executable, str(ROOT / "scripts" / "environment.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_folder_of_someone_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("mine")
    done = make_environment(tmp_path)
    assert done.returncode == 2
    assert "is in the way" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("change", "whole"),
    [("nothing", True), ("unfinished", False), ("python gone", False), ("no stamp", False)],
)
def test_only_a_whole_environment_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, whole: bool
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import environment  # type: ignore[import-not-found]

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "medblip").touch()
    environment.stamp(tmp_path, dev=True).touch()
    if change == "unfinished":
        (tmp_path / environment.UNFINISHED).touch()
    elif change == "python gone":
        (tmp_path / "bin" / "python").unlink()
        (tmp_path / "bin" / "python").symlink_to(tmp_path / "gone")
    elif change == "no stamp":
        environment.stamp(tmp_path, dev=True).unlink()
    assert environment.is_whole(tmp_path, dev=True) is whole
    assert not environment.is_whole(tmp_path, dev=False)  # another stamp
    assert environment.is_ours(tmp_path) is (change != "no stamp")
