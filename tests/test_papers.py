"""The papers agree with the code: guards."""

import ast
import re

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
