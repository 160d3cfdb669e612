"""The command line: quick help with examples, errors that say what to do, exit codes, and no terminal needed."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import COMMANDS, cli
from streams.commands.console import PLAIN_EVERY_S, progress
from streams.schemas import shipped

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, its output not going to a terminal."""
    start = [sys.executable, "-c", "from streams.cli import main; main()", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_INTENTS_")}
    env = clean | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(start, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    """Each command's help shows how it is called, on lines of their own that fit."""
    shown = CliRunner().invoke(cli, [name, *(["create"] if name == "topics" else []), "--help"])
    assert shown.exit_code == 0
    examples = re.findall(rf"^  micro-intents {name}\b.*$", shown.output, re.MULTILINE)
    assert examples
    assert max(map(len, shown.output.splitlines())) <= 110


def test_overview_names_every_command_and_says_why() -> None:
    """The overview lists every command with a whole sentence."""
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z][^.]*\w\.$", shown, re.MULTILINE), name


def test_help_is_quick() -> None:
    """The overview loads nothing heavy: neither numpy nor a Kafka client, River, Faust or rich."""
    code = "import sys\nfrom streams.cli import cli\ncli(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "streams.commands.replay" in loaded
    assert loaded & {"numpy", "kafka", "aiokafka", "faust", "river", "msgspec", "rich"} == set()


def test_version() -> None:
    """--version says which."""
    assert re.fullmatch(r"micro-intents, version \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).output)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["relpay"], "No such command 'relpay'"),
        (["replay"], "Missing argument 'FILE'"),
        (["replay", "gone.jsonl"], "File 'gone.jsonl' does not exist"),
        (["simulate", "out.jsonl", "--events", "0"], "0 is not in the range"),
        (["tail", "--limit", "many"], "'many' is not a valid integer"),
        (["topics", "create", "--keep-days", "6"], "--keep-days 6 is less than the rebuild window"),
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str], said: str) -> None:
    """What is called wrongly ends with 2, says what is wrong, and shows no traceback."""
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_a_wrong_setting_is_code_2(tmp_path: Path) -> None:
    """A setting that cannot be used is wrong usage, and named with where it came from."""
    done = run("tail", MICRO_INTENTS_THRESHOLD="high")
    assert (
        done.returncode == 2 and "MICRO_INTENTS_THRESHOLD is 'high'; it must be a probability (0.15), or" in done.stderr
    )
    done = run("tail", MICRO_INTENTS_SNAPSHOT_S="long")
    assert (done.returncode, done.stderr) == (2, "Error: MICRO_INTENTS_SNAPSHOT_S is 'long'; it must be a float\n")
    path = tmp_path / "settings.toml"
    path.write_text("brokr = 1")
    done = run("doctor", MICRO_INTENTS_FILE=str(path))
    assert done.returncode == 2 and "no setting 'brokr'" in done.stderr


@pytest.mark.parametrize("command", [["tail"], ["topics", "create"], ["replay", "FILE"]])
def test_no_broker_is_code_1_and_quick(command: list[str], tmp_path: Path) -> None:
    """Where no broker answers, one line says so and what to do, by option or by environment."""
    recording = tmp_path / "r.jsonl"
    recording.write_text('{"event_id":"1","customer_id":"c","kind":"view","time":1}\n')
    arguments = [str(recording) if word == "FILE" else word for word in command]
    for done in (run(*arguments, "--broker", "127.0.0.1:1"), run(*arguments, MICRO_INTENTS_BROKER="127.0.0.1:1")):
        assert done.returncode == 1
        assert done.stderr.startswith("Error: no broker answers at 127.0.0.1:1: nothing listens there. Start Kafka")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [("a,b\n1,2\n", "not a recording of a known format"), ("", "the file is empty")],
)
def test_no_recording(tmp_path: Path, content: str, said: str) -> None:
    """A file that is no recording is refused with what is known."""
    path = tmp_path / "file"
    path.write_text(content)
    done = run("replay", path, "--in-process")
    assert done.returncode == 1 and said in done.stderr and "Taobao UserBehavior CSV" in done.stderr


def test_simulate_writes_recording_truth_and_catalogue(tmp_path: Path) -> None:
    """Three files, their names printed; the catalogue is the one that `--catalog` takes elsewhere."""
    done = run(
        "simulate", tmp_path / "s.jsonl.gz", "--events", "200", "--customers", "20", "--catalog", tmp_path / "c.toml"
    )
    assert done.returncode == 0
    assert re.search(
        r"s\.jsonl\.gz: 200 made-up events of \d+ customers\n.*s\.truth\.jsonl: \d+ true intents", done.stdout
    )
    assert {path.name for path in tmp_path.iterdir()} == {"s.jsonl.gz", "s.truth.jsonl", "c.toml"}
    checked = run("replay", tmp_path / "s.jsonl.gz", "--in-process", "--catalog", tmp_path / "c.toml")
    assert checked.returncode == 0 and "micro-intents JSON lines (made up)" in checked.stdout


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there is said to be so."""
    done = run("simulate", tmp_path / "gone" / "s.jsonl")
    assert (done.returncode, done.stderr) == (1, f"Error: {tmp_path}/gone/s.jsonl: No such file or directory\n")


def test_a_mistake_in_a_catalogue_has_its_line(tmp_path: Path) -> None:
    """A journey with an unknown stage stops a replay, with file and line."""
    catalogue, recording = tmp_path / "shop.toml", tmp_path / "r.jsonl"
    catalogue.write_text('[intent.a]\ncategory = "a"\n\n[journey.j]\nstages = ["a", "b"]\n')
    recording.write_text('{"event_id":"1","customer_id":"c","kind":"view","time":1,"category":"a"}\n')
    done = run("replay", recording, "--in-process", "--catalog", catalogue)
    assert done.returncode == 1 and f"{catalogue}:4: " in done.stderr and "'b'" in done.stderr


def test_schemas(tmp_path: Path) -> None:
    """The schemas are printed as shipped, one or both, or written."""
    runner = CliRunner()
    for name in ("clickstream", "intents"):
        assert runner.invoke(cli, ["schemas", name]).output == shipped(name)
    both = runner.invoke(cli, ["schemas"]).output
    assert '"clickstream": {' in both and '"intents": {' in both
    assert runner.invoke(cli, ["schemas", "--out", str(tmp_path / "new")]).exit_code == 0
    assert (tmp_path / "new" / "intents.json").read_text() == shipped("intents")


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, progress is a line now and then, and never on stdout."""
    now = 0.0
    with progress("replaying", "events", lambda: now) as update:
        for number in range(1, 31):
            now = float(number)
            update(number / 40, number * 1_000)
    said = capsys.readouterr()
    assert said.out == ""
    assert PLAIN_EVERY_S == 10
    assert said.err.splitlines() == [
        "replaying: 25%, 10,000 events, 1,000/s",
        "replaying: 50%, 20,000 events, 1,000/s",
        "replaying: 75%, 30,000 events, 1,000/s",
    ]


def test_ctrl_c_is_code_130() -> None:
    """Ctrl-C ends a command with one line and no traceback, here while it waits for a broker that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        start = [sys.executable, "-c", "from streams.cli import main; main()", "topics", "create", "--broker", address]
        process = subprocess.Popen(start, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        connection, _ = server.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "Error: stopped by Ctrl-C\n")
