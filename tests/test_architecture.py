"""The rooms of this project, and which way imports point."""

import ast
import re

import pytest

from runs.records import ROOT

FLOORS = ("eap", "runs", "summarization", "study")  # from the ground up; scripts stand on top

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for floor in FLOORS
    for path in sorted((ROOT / floor).rglob("*.py"))
}


def imports(path) -> set[str]:
    """Names of our modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in FLOORS}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    floor = FLOORS.index(name.split(".")[0])
    above = {other for other in imports(MODULES[name]) if FLOORS.index(other.split(".")[0]) > floor}
    assert not above


def test_no_imports_go_round_in_a_circle():
    graph = {
        name: {other for other in imports(path) if other in MODULES}
        for name, path in MODULES.items()
    }
    while leaves := [name for name, needed in graph.items() if not needed]:
        for leaf in leaves:
            del graph[leaf]
        for needed in graph.values():
            needed.difference_update(leaves)
    assert not graph, "these import each other"


def test_no_library_imports_a_script():
    scripts = {path.stem for path in ROOT.glob("*.py")}
    for path in MODULES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & scripts, path


# What a file of pairs or a circuit's file calls things: the formats are the task's.
IN_FILES = ('"summary_start"', "`summary_start`", '"summary"', '"sentences"', '"masked"')
IN_FILES += ('"article"', "`article`", '"articles"', "`articles`")


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "eap"])
def test_the_engine_names_no_task_no_script_and_no_flag(name):
    text = MODULES[name].read_text(encoding="utf-8")
    for word in IN_FILES:
        text = text.replace(word, "")
    words = re.findall(r"(?i)\w*salien\w*|\w*summar\w*|\w*article\w*|sentences?\b", text)
    scripts = [path.name for path in ROOT.glob("*.py") if path.name in text]
    assert not words + scripts + re.findall(r"--[a-z]\w+", text)


def parameters(function: ast.FunctionDef) -> set[str]:
    """The names of a function's parameters, `*args` not among them."""
    named = function.args
    return {parameter.arg for parameter in (*named.posonlyargs, *named.args, *named.kwonlyargs)}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"runs.flags"}))  # which parses them
def test_nothing_below_the_scripts_takes_all_flags(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions if "args" in parameters(function)] == []


# A library calls these by position; q, k and v, and what is averaged, have an order of their own.
BY_POSITION = {
    "eap": {"attend", "forward", "log_mean"},
    "study": {"on_optimizer_step"},
    "summarization": {"on_evaluate", "on_log", "on_step_end", "on_train_begin", "on_train_end"},
}


def many_by_position(tree: ast.Module | ast.ClassDef) -> set[str]:
    """The functions and methods that take more than two arguments by position, besides `self`."""
    many = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            many |= many_by_position(node)
        if isinstance(node, ast.FunctionDef):
            named = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
            if len([name for name in named if name not in ("self", "cls")]) > 2:
                many.add(node.name)
    return many


def handed_on(tree: ast.Module) -> set[str]:
    """The names that a file uses without calling them: who is given a function calls it."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    uncalled = [node for node in names if id(node) not in called]
    return {node.id if isinstance(node, ast.Name) else node.attr for node in uncalled}


@pytest.mark.parametrize("name", MODULES)
def test_arguments_after_the_second_are_given_by_name(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    many = many_by_position(tree) - handed_on(tree)
    assert many <= BY_POSITION.get(name.split(".")[0], set())
