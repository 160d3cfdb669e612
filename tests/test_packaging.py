"""What is installed is what is written: commands, packages and their files, dependencies, import rules."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import entry_points, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("streams", "sinks", "intents", "features")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def _distribution(requirement: str) -> str:
    """Name of a requirement or distribution, as registries compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[(]", requirement)[0].lower())


def _imported() -> dict[str, set[str]]:
    """Distributions that the packages import, with the packages that do."""
    owners = packages_distributions()
    found: dict[str, set[str]] = {}
    for path, tree in _modules():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - set(PACKAGES):
                if top not in sys.stdlib_module_names:
                    assert top in owners, f"{path} imports {top}, which is not installed"
                    found.setdefault(_distribution(owners[top][0]), set()).add(path.parts[0])
    return found


def test_console_command_is_installed() -> None:
    """Installing the project gives the command `micro-intents`, and it can be loaded."""
    (command,) = entry_points(group="console_scripts", name="micro-intents")
    assert command.value == "streams.cli:main"
    assert callable(command.load())


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_what_belongs_there(package: str) -> None:
    """Each package opens with what it holds and which file to open first, and that file exists."""
    said = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    (named,) = re.findall(r"Open `(\w+\.py)` first", said)
    assert (ROOT / package / named).is_file()


def test_files_that_are_not_python_are_shipped() -> None:
    """Every script, schema and table inside a package matches a pattern of the package data."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    others = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert Path("features/commit.lua") in others
    assert [str(path) for path in others if not any(fnmatch(path.name, pattern) for pattern in patterns)] == []


def test_dependencies_are_the_imports() -> None:
    """What the packages import is declared, and what is declared is imported (hiredis is loaded by redis-py)."""
    declared = {_distribution(requirement) for requirement in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {_distribution(requirement) for requirement in [*extras["demo"], *extras["plots"]]}
    through_faust = {"mode-streaming"}
    imported = set(_imported())
    assert imported - declared - optional - through_faust == set()
    assert declared - imported == {"hiredis"}


def test_lock_covers_every_dependency() -> None:
    """constraints.txt names one exact version of each declared dependency and of what those require."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    locked = {_distribution(name) for name in pins} | {"setuptools"}  # which every environment brings
    groups = PROJECT["project"]["optional-dependencies"].values()
    declared = [*PROJECT["project"]["dependencies"], *(one for group in groups for one in group)]
    wanted = {_distribution(requirement) for requirement in declared}
    for name in sorted(wanted):
        wanted |= {_distribution(one) for one in requires(name) or () if ";" not in one}
    assert wanted - locked == set()


def test_only_settings_reads_the_environment() -> None:
    """No other module looks at environment variables: what a part depends on is in its arguments."""
    readers = {
        str(path)
        for path, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"streams/settings.py"}


def test_imports_point_down() -> None:
    """The layers and the homes of Faust, River and Redis hold."""
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command, "import-linter is not installed"
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_frameworks_are_imported_at_home() -> None:
    """Faust is imported in streams only, River in intents only, redis-py in features only."""
    imported = _imported()
    homes = {"faust-streaming": "streams", "river": "intents", "redis": "features"}
    assert {name: imported.get(name) for name in homes} == {name: {home} for name, home in homes.items()}


def test_no_traces_of_one_machine() -> None:
    """No file names a directory of the machine it was written on, or the address of a package registry."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    trace = re.compile(r"(?<![\w.\-/}])/(work|root)/|/site-packages/|\bpypi\.org|pythonhosted\.org|repo\d?\.maven")
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            lines = path.read_bytes().decode(errors="replace").splitlines()
            found += [f"{name}:{number}" for number, line in enumerate(lines, 1) if trace.search(line)]
    assert found == []
