"""The papers agree with the code: guards, file lists, files and links that are named."""

import ast
import re
from pathlib import Path

import mutants
import pytest

from runs.records import ROOT

FOLDERS = ("eap", "runs", "summarization", "study", "benchmarks", "tests")


def sources() -> list:
    """All Python files of the project."""
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *below])


def guards() -> dict[int, str]:
    """What docs/guards.md says of each guard, by number."""
    text = (ROOT / "docs" / "guards.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (\d+)\. ", text, flags=re.MULTILINE)[1:]
    return {int(number): part for number, part in zip(parts[::2], parts[1::2], strict=True)}


def named_tests(text: str) -> set[tuple[str, str]]:
    """(file, function) of every `tests/file.py::function` in a text."""
    return set(re.findall(r"`(tests/\w+\.py)::(\w+)`", text))


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_guard_that_is_mentioned_is_listed_and_none_twice():
    listed = guards()
    assert list(listed) == list(range(1, len(listed) + 1))
    papers = sorted((ROOT / "docs").glob("*.md"))
    for path in [*sources(), *papers, ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        for numbers in re.findall(r"\b[Gg]uards? (\d+(?:(?:, | and | to )\d+)*)", text):
            mentioned = {int(number) for number in re.findall(r"\d+", numbers)}
            assert mentioned <= set(listed), f"{path}: {numbers}"


def test_every_guard_says_what_misled_what_is_done_and_which_tests_show_it():
    for number, text in guards().items():
        assert "- Misled: " in text and "- Here: " in text, number
        tests = named_tests(text)
        assert tests, f"guard {number} names no test"
        for path, name in tests:
            assert name in functions_of(path), f"guard {number}: {path} has no {name}"


def test_every_test_of_a_guard_is_named_in_the_list():
    listed = guards()
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for name in functions_of(f"tests/{path.name}"):
            if number := re.match(r"test_guard_(\d+)_", name):
                assert (f"tests/{path.name}", name) in named_tests(listed[int(number[1])]), name


def listed_files() -> dict[str, str]:
    """What the README's file list says of every file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.split("## The files\n\n```\n")[1].split("\n```")[0]
    return dict(line.split(maxsplit=1) for line in block.splitlines() if line)


def test_the_readme_lists_every_file_with_its_first_sentence(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_docs

    listed = listed_files()
    for path in sources():
        name = str(path.relative_to(ROOT))
        if name.startswith("tests/") or (path.name == "__init__.py" and name not in listed):
            continue
        assert name in listed, f"README's list of files lacks {name}"
        assert make_docs.first_sentence(name) == listed[name], name
    missing = [name for name in listed if not (ROOT / name).is_file()]
    assert not missing, "README lists files that are not there"


PAPERS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: Path(paper).name)
def test_every_file_that_a_paper_names_exists(paper):
    text = (ROOT / paper).read_text(encoding="utf-8")
    names = re.findall(
        r"`((?:eap|runs|summarization|study|tests|docs|benchmarks|demo)/[\w/.-]*)", text
    )
    missing = [name for name in names if not (ROOT / name).exists()]
    known = {path.name for path in sources()}
    missing += [name for name in re.findall(r"`(\w+\.py)\b", text) if name not in known]
    assert not missing


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: Path(paper).name)
def test_every_link_of_a_paper_leads_somewhere(paper):
    path = ROOT / paper
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        target, _, heading = link.partition("#")
        if "://" in link:
            continue
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), f"{paper} links to {link}"
        if heading:
            assert heading in headings(page), f"{paper} links to {link}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_is_made_from_the_code_is_current(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_docs

    advice = "run `python docs/make_docs.py`"
    assert (ROOT / "README.md").read_text(encoding="utf-8") == make_docs.readme(), advice
    notes = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert notes == make_docs.method_notes(), advice
    for name in ("troubleshooting", "figures", "gallery"):
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        assert text == getattr(make_docs, name)(), advice


def test_every_mutant_is_one_that_can_be_made_and_names_tests_that_exist():
    assert len(mutants.MUTANTS) >= 30
    assert not mutants.problems()
    for mutant in mutants.MUTANTS:
        for test in mutant.tests.split():
            path, name = test.split("::")
            assert name in functions_of(f"tests/{path}"), test


def test_the_gallery_shows_every_figure(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_docs

    for pattern in make_docs.FIGURES:
        assert (ROOT / "docs" / "gallery" / make_docs.picture_of(pattern)).is_file(), pattern
