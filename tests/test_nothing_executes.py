"""Nothing that is read can execute: no code of ours unpickles, evaluates or loads objects by name."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.core_bundle import CORE
from features.state import UnreadableState, decode
from intents import snapshot_layout, snapshots
from intents.examples import UnreadableExamples, unpack
from sinks.records import UnreadableOutbox, unpack_outbox

ROOT = Path(__file__).parents[1]
PACKAGES = ("streams", "sinks", "intents", "features", "examples", "benchmarks")
MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "code", "codeop", "runpy"),
    *("yaml", "ruamel", "jsonpickle", "numpy.lib.format", "torch", "skops", "xml"),
}
"""What reads objects that can execute, or runs what it is given."""
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"load_module", "exec_module", "system", "popen", "execv", "execvp", "spawnl", "spawnv", "allow_pickle"}
SHELL = "shell"
ALLOWED = {
    ("streams/cli.py", "import_module"),  # of a name that is in COMMANDS
}


def findings(path: Path, source: str) -> Iterator[str]:
    """What a file does that it must not."""
    place = path.as_posix()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found = [each.name for each in names if forbidden(each.name)]
            case ast.ImportFrom(module=module, names=names):
                found = [f"{module}.{each.name}" for each in names if forbidden(f"{module}.{each.name}")]
            case ast.Name(id=name):
                found = [name] if name in NAMES or name == "import_module" else []
            case ast.Attribute(attr=name):
                found = [name] if name in ATTRIBUTES | {"import_module", "eval", "exec"} else []
            case ast.keyword(arg=str(name)) if name in (SHELL, "allow_pickle", "object_hook"):
                found = [name]
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr=("load" | "loads" | "fromregex") as name)):
                found = [f"np.{name}"]
            case _:
                continue
        yield from (f"{place}:{node.lineno}: {each}" for each in found if (place, each) not in ALLOWED)


def forbidden(name: str) -> bool:
    """Whether a module, or one that it is part of, is among MODULES."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in MODULES for count in range(1, len(parts) + 1))


def test_no_code_of_ours_can_execute_what_it_reads() -> None:
    """No module imports a pickle's kin, evaluates text, loads arrays with objects, or runs a shell."""
    files = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 80
    assert [each for path in files for each in findings(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill as d",
        "from joblib import load",
        "from numpy.lib import format",
        "import yaml",
        "eval('1')",
        "builtins.exec(x)",
        "np.load(f)",
        "numpy.frombuffer(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "os.system(x)",
        "importlib.import_module(x)",
        "def f():\n    from marshal import loads",
    ],
)
def test_the_scan_finds_it(source: str) -> None:
    """Each way to execute is found, wherever in a file it is."""
    assert list(findings(Path("a.py"), source))


class Bomb:
    """Its pickle would run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_formats_hold_plain_data_only(capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle, an array of objects and a msgpack extension are refused by every reader of stored bytes."""
    bomb = pickle.dumps(Bomb())
    objects = np.array([Bomb()], dtype=object).dumps()
    extension = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, bomb)])
    for hostile in (bomb, objects, extension):
        with pytest.raises(snapshot_layout.UnusableSnapshot):
            snapshots.decode(hostile, CORE)
        with pytest.raises(UnreadableExamples):
            unpack(hostile)
        with pytest.raises(UnreadableState):
            decode(["c"], [hostile])
        with pytest.raises(UnreadableOutbox):
            unpack_outbox(hostile)
    assert capsys.readouterr().out == ""
