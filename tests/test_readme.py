"""The README holds: its commands run, its trace and settings are the program's, and what it points at exists."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from streams.cli import cli
from streams.settings import PREFIX, Settings

ROOT: Final = Path(__file__).parent.parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS: Final = ("sh", "bash", "shell", "console")
EVENTS: Final = 2_500
"""Replays and their evaluations are cut to so many events, to be quick."""
WITH_SERVICES: Final = ("demo", "worker", "train", "tail", "doctor", "topics")
"""Commands that need Kafka or Redis, or run for long; `replay` without --in-process is one more."""
PLACEHOLDER: Final = re.compile(r"[A-Z][A-Z_.]*|.*/[A-Z]+")


@dataclass(frozen=True, slots=True)
class Shown:
    """A `micro-intents` command that the README shows: its words, and whether it can be run here."""

    words: tuple[str, ...]
    runs: bool

    @property
    def line(self) -> str:
        """As it is typed."""
        return shlex.join(("micro-intents", *self.words))


def lines_of(language: str, block: str) -> Iterator[str]:
    """Commands of a fenced block; a console's have a prompt, and its other lines are output."""
    for line in block.replace("\\\n", " ").splitlines():
        if language != "console":
            yield line
        elif line.startswith("$ "):
            yield line[2:]


def shown(text: str) -> list[Shown]:
    """Every `micro-intents` command of fenced shell blocks, in order; a block beginning with `# needs` does not run."""
    found = []
    for language, block in FENCE.findall(text):
        if language not in SHELLS:
            continue
        for line in lines_of(language, block):
            for part in re.split(r"\s(?:&&|;|\|)\s", line):
                words = shlex.split(part, comments=True)
                if words[:1] == ["micro-intents"]:
                    runs = not block.startswith("# needs") and runnable(words[1:])
                    found.append(Shown(tuple(words[1:]), runs))
    return found


def runnable(words: list[str]) -> bool:
    """Whether a command needs nothing but files."""
    if not words or words[0] in WITH_SERVICES or any(map(PLACEHOLDER.fullmatch, words)):
        return False
    return words[0] != "replay" or "--in-process" in words


def resolve(words: tuple[str, ...]) -> tuple[click.Command, list[str]]:
    """The command of some words, and the names of commands that lead to it."""
    command: click.Command = cli
    path: list[str] = []
    for word in words:
        if not isinstance(command, click.Group):
            break
        if word.startswith("-"):
            continue
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"micro-intents {' '.join(words)}: there is no command {word}"
        command = found
        path.append(word)
    return command, path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What came of the commands that need nothing but files, run one after another in an empty directory."""
    directory = tmp_path_factory.mktemp("readme")
    program = str(Path(sys.executable).parent / "micro-intents")
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = {}
    for command in shown(README):
        if not command.runs or command.line in done:
            continue
        cut = ["--limit", str(EVENTS)] if command.words[0] in ("replay", "evaluate") else []
        words = [*command.words, *(cut if "--limit" not in command.words else [])]
        done[command.line] = subprocess.run(
            [program, *words], cwd=directory, env=env, capture_output=True, text=True, check=False
        )
    return done


def test_its_commands_run(ran: dict[str, subprocess.CompletedProcess[str]]) -> None:
    """What needs no service works as it is written, in the README's order, each on what the ones before it wrote."""
    failed = {line: done.stderr for line, done in ran.items() if done.returncode}
    assert failed == {}
    assert {"simulate", "replay", "evaluate", "trace"} <= {line.split()[1] for line in ran}


def inline() -> list[Shown]:
    """Commands in the running text and in tables."""
    spans = re.findall(r"`(micro-intents [^`]+)`", FENCE.sub("", README))
    return [Shown(tuple(shlex.split(span)[1:]), False) for span in spans]


@pytest.mark.parametrize("command", [*shown(README), *inline()], ids=lambda command: " ".join(command.words[:2]))
def test_every_command_and_option_exists(command: Shown) -> None:
    """Also those that need Kafka and Redis: `--help` of each works, and knows the options that the README gives it."""
    found, path = resolve(command.words)
    help_ = CliRunner().invoke(cli, [*path, "--help"], prog_name="micro-intents")
    assert help_.exit_code == 0, help_.output
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version"}
    given = {word.split("=")[0] for word in command.words if word.startswith("--")}
    assert given - known == set(), command.line


def test_make_targets_exist() -> None:
    """Every `make` that it shows is a target of the Makefile."""
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:^|`)(?:\$ )?make ([\w-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= told <= targets


def between(marker: str) -> str:
    """What lies between two markers of the README."""
    found = re.findall(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", README, re.DOTALL)
    assert len(found) == 1, f"the README needs <!-- {marker} --> and <!-- /{marker} --> once"
    text: str = found[0]
    return text


def test_its_trace_is_what_the_program_prints(ran: dict[str, subprocess.CompletedProcess[str]]) -> None:
    """Between the trace markers stands a console block: the command, then its output of today, to the byte.

    After a change, put in what `micro-intents simulate shop.jsonl && micro-intents trace shop.jsonl` prints.
    """
    (block,) = FENCE.findall(between("trace"))
    assert block[0] == "console"
    prompt, output = block[1].split("\n", 1)
    (command,) = shown(f"```console\n{prompt}\n```\n")
    assert command.words[0] == "trace"
    assert output == ran[command.line].stdout


def test_its_settings_are_the_programs() -> None:
    """The table between the settings markers has every setting, in order, with its default and what it is for."""
    rows = [line.strip("| ").split(" | ") for line in between("settings").splitlines()]
    told = [[cell.strip(" |") for cell in row] for row in rows[2:]]
    wanted = []
    for item in fields(Settings):
        default = f"`{item.default}`" if item.default != "" else None
        wanted.append([f"`{PREFIX}{item.name.upper()}`", *([default] if default else []), item.metadata["help"]])
    assert told == wanted


def slug(heading: str) -> str:
    """A heading's anchor, as repositories' pages make them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    """Files and headings that it links to exist."""
    anchors = {slug(heading) for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", README), re.MULTILINE)}
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", README))
    assert links
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    lost = [link for link in local if not link.startswith("#") and not (ROOT / link.split("#")[0]).exists()]
    lost += [link for link in local if link.startswith("#") and link[1:] not in anchors]
    assert lost == []


def test_named_files_modules_and_tests_exist() -> None:
    """Paths, `python -m` modules and test functions that it names in code spans are there."""
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", README))
    top = "streams|sinks|intents|features|tests|docs|examples|benchmarks|\\.ci"
    paths = [span for span in spans if re.fullmatch(rf"(?:{top})/[\w./-]+", span)]
    paths += [name.replace(".", "/") + ".py" for span in spans for name in re.findall(r"^python -m ([\w.]+)", span)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = [span for span in spans if re.fullmatch(r"test_\w+", span)]
    assert [name for name in named if not re.search(rf"^(async )?def {name}\(", tests, re.MULTILINE)] == []


def test_nothing_is_left_to_fill_in() -> None:
    """No placeholder for a number, and no word of what is still to do."""
    assert re.findall(r"@[A-Z]+@|TODO|FIXME|XXX|\bTBD\b", README) == []


def test_guarantees_name_tests_that_there_are() -> None:
    """Each row of the table of guarantees names a test or a file of tests that is there, or a make command."""
    table = README.split("## Guarantees")[1].split("## Settings")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| **", "| what"))]
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.rsplit("|", 2)[1])
        assert names, row
        for name in names:
            there = name.startswith("make ") or (ROOT / name).exists() if "/" in name or " " in name else False
            assert there or f"def {name}(" in written, name
