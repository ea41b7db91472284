"""Installing and citing: one version, one list of dependencies, no other package called `eap`."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from runs.flags import VERSION
from runs.records import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]


def requirements(lines) -> dict[str, Requirement]:
    """Requirements by name."""
    parsed = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    return {requirement.name: requirement for requirement in parsed}


def test_the_lock_lies_in_the_ranges_and_names_the_same_packages():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    ranges = requirements(PROJECT["dependencies"] + extras)
    lock = requirements((ROOT / "requirements.txt").read_text().splitlines())
    assert lock.keys() == ranges.keys()
    for name, requirement in lock.items():
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        assert ranges[name].specifier.contains(pin.version), name


def test_the_version_stands_in_one_place_and_citations_follow_it():
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (bibtex,) = re.findall(r"@software\{.*\}", (ROOT / "README.md").read_text())
    assert citation["version"] == VERSION
    assert f"version = {{{VERSION}}}" in bibtex
    assert f"title = {{{citation['title']}}}" in bibtex
    assert f"author = {{{{{citation['authors'][0]['name']}}}}}" in bibtex
    assert PROJECT["authors"] == citation["authors"]
    assert PROJECT["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.fixture
def other_eap(tmp_path):
    """A folder with another package called `eap`."""
    package = tmp_path / "eap"
    package.mkdir()
    (package / "__init__.py").write_text("")
    return tmp_path


def python(words, path, cwd):
    """A finished Python process with `path` as PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def test_another_package_called_eap_is_refused(other_eap, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    refused = python(["-c", "import runs"], [other_eap, ROOT], elsewhere)
    assert refused.returncode == 1
    message = refused.stderr.splitlines()[-1]
    assert str(other_eap / "eap") in message
    assert f"put {ROOT} first in PYTHONPATH" in message
    taken = python(["-c", "import runs, eap; eap.InputError"], [ROOT, other_eap], elsewhere)
    assert taken.returncode == 0, taken.stderr


def test_a_script_runs_from_any_folder_and_finds_its_own_eap(other_eap):
    script = ROOT / "extract_summarization_circuit.py"
    done = python([str(script), "--version"], [other_eap], other_eap)
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


def test_an_installed_library_has_its_files_that_are_not_python():
    """Templates, styles and scripts of the page, and the mark that `eap` is typed."""
    package_data = TOOLS["setuptools"]["package-data"]
    packaged = set()
    for package, patterns in package_data.items():
        folder = ROOT.joinpath(*package.split("."))
        for pattern in patterns:
            packaged |= set(folder.glob(pattern))
    for room in ("eap", "runs", "study", "summarization"):
        files = [path for path in (ROOT / room).rglob("*") if path.is_file()]
        others = {path for path in files if path.suffix not in (".py", ".pyc")}
        assert others <= packaged
    assert ROOT / "eap" / "py.typed" in packaged
