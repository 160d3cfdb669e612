"""Replay in process and evaluate, through the command line, on a small made-up recording."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from features.core_bundle import CORE
from intents.snapshots import decode
from streams.cli import cli
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate

EVENTS, FIRST = 1_600, 900


@dataclass(frozen=True)
class Played:
    """A recording in a folder, and what replaying it with learning wrote and said."""

    folder: Path
    output: str

    @property
    def recording(self) -> Path:
        """The recording."""
        return self.folder / "shop.jsonl"

    @property
    def catalogue(self) -> Path:
        """The shop's catalogue."""
        return self.folder / "shop.toml"

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Objects of a file of JSON lines."""
        return [json.loads(line) for line in (self.folder / name).read_bytes().splitlines()]


Replay = Callable[..., Result]


def _replay(recording: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["replay", str(recording), "--in-process", *map(str, arguments)])


def counted(output: str, what: str) -> int:
    """The number of a row of a table."""
    found = re.search(rf"{what} +│ +([\d,]+) │", output)
    assert found, output
    return int(found[1].replace(",", ""))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A recording of a few busy hours, replayed once with learning, everything written."""
    folder = tmp_path_factory.mktemp("played")
    simulate(folder / "shop.jsonl", customers=60, events=EVENTS, days=0.4, seed=3)
    (folder / "shop.toml").write_text(DEMO_CATALOGUE)
    outputs: list[str | Path] = [
        "--intents",
        folder / "intents.jsonl",
        "--scores",
        folder / "scores.jsonl",
        "--dead",
        folder / "dead.jsonl",
    ]
    outputs += ["--save-model", folder / "last.snapshot"]
    done = _replay(folder / "shop.jsonl", "--learn", "--catalog", folder / "shop.toml", *outputs)
    assert done.exit_code == 0, done.output
    return Played(folder, done.output)


def test_summary_counts_what_was_written(played: Played) -> None:
    """The table's numbers are those of the files: events, intents by status, refused."""
    statuses = Counter(line["status"] for line in played.lines("intents.jsonl"))
    assert {"detected", "fulfilled", "expired"} <= statuses.keys()
    assert counted(played.output, "events worked") == EVENTS
    assert counted(played.output, "intent events") == statuses.total()
    for status, count in statuses.items():
        assert counted(played.output, f"  {status}") == count
    assert counted(played.output, "records refused") == 0 == len(played.lines("dead.jsonl"))
    assert "micro-intents JSON lines (made up)" in played.output
    assert f"how good that is: micro-intents evaluate {played.folder}/scores.jsonl" in played.output


def test_the_first_events_have_the_same_scores(played: Played) -> None:
    """The scores of --limit N are a byte prefix of the whole run's, while the model learns and after it is ready."""
    part = played.folder / "part.jsonl"
    done = _replay(played.recording, "--learn", "--catalog", played.catalogue, "--scores", part, "--limit", str(FIRST))
    assert done.exit_code == 0
    assert counted(done.output, "events worked") == FIRST
    scores = part.read_bytes()
    assert (played.folder / "scores.jsonl").read_bytes().startswith(scores)
    ready = [line.get("ready", True) for line in played.lines("part.jsonl")]
    assert ready.count(False) > 50 and ready.count(True) > 50


def test_scores_are_of_the_shape_that_others_judge(played: Played) -> None:
    """One line for each view, cart_add and purchase, in file order, every p a number in [0, 1], best first."""
    events = [json.loads(line) for line in played.recording.read_bytes().splitlines()[1:]]
    asked = [
        ("detect" if event["kind"] == "view" else "rank", event["event_id"], event["customer_id"], event["time"])
        for event in events
        if event["kind"] in ("view", "cart_add", "purchase")
    ]
    lines = played.lines("scores.jsonl")
    assert [(line["ask"], line["event_id"], line["customer_id"], line["time"]) for line in lines] == asked
    for line in lines:
        said = [p for _, p in line["scores"]]
        assert said == sorted(said, reverse=True) and all(0 <= p <= 1 for p in said)
        assert ("intent" in line) == (line["ask"] == "rank")


def test_the_saved_model_is_the_one_it_ended_with(played: Played) -> None:
    """The snapshot can be read, is ready, and has the labels that the summary told."""
    model = decode((played.folder / "last.snapshot").read_bytes(), CORE).model
    now = model.now
    assert model.ready
    assert f"model: ready, {now.positives:,} positive and {now.negatives:,} negative labels" in played.output


def test_a_frozen_model_stays_as_it_is(played: Played) -> None:
    """With --model alone every line is ready, every intent is by that snapshot, and repeating gives the same bytes."""
    snapshot = played.folder / "last.snapshot"
    version = decode(snapshot.read_bytes(), CORE).model.version
    written = []
    for name, partitions in (("frozen1", "8"), ("frozen2", "3")):
        scores, intents = played.folder / f"{name}.scores", played.folder / f"{name}.intents"
        options: list[str | Path] = [
            "--model",
            snapshot,
            "--scores",
            scores,
            "--intents",
            intents,
            "--partitions",
            partitions,
        ]
        assert _replay(played.recording, "--catalog", played.catalogue, *options).exit_code == 0
        written.append(scores.read_bytes())
        assert {line["model"]["version"] for line in played.lines(f"{name}.intents")} == {version}
        assert all("ready" not in line for line in played.lines(f"{name}.scores"))
    assert written[0] == written[1]  # partitions change no score


def test_learning_goes_on_from_a_model(played: Played) -> None:
    """With --warm-start it is ready from the first line, and ends with more labels than it began with."""
    snapshot, later = played.folder / "last.snapshot", played.folder / "later.snapshot"
    scores = played.folder / "on.jsonl"
    options: list[str | Path] = ["--warm-start", snapshot, "--learn", "--save-model", later, "--scores", scores]
    assert _replay(played.recording, "--catalog", played.catalogue, *options).exit_code == 0
    before, after = (decode(path.read_bytes(), CORE).model for path in (snapshot, later))
    assert "ready" not in played.lines("on.jsonl")[0]
    assert 1.9 * before.now.positives < after.now.positives < 2.2 * before.now.positives
    assert after.tables.views > 1.9 * before.tables.views


def test_refused_records_are_counted_and_kept(played: Played) -> None:
    """What is no event is counted by reason, written with its bytes, and the rest goes on."""
    lines = played.recording.read_bytes().splitlines()
    bad = [b"{not json", b'{"event_id":"x","customer_id":"c","kind":"stare","time":1}', b"\xff\xfe"]
    spoilt, dead = played.folder / "spoilt.jsonl", played.folder / "spoilt.dead"
    spoilt.write_bytes(b"\n".join([*lines[:200], *bad, *lines[200:300], bad[1]]) + b"\n")
    done = _replay(spoilt, "--dead", dead)
    assert done.exit_code == 0
    assert counted(done.output, "events worked") == 299
    assert counted(done.output, "records refused") == 4
    assert counted(done.output, r"  invalid: Invalid enum value … - at `\$.kind`") == 2
    letters = played.lines("spoilt.dead")
    assert Counter(letter["value"] for letter in letters if "value" in letter) == {
        bad[0].decode(): 1,
        bad[1].decode(): 2,
    }
    assert [letter["value_base64"] for letter in letters if "value" not in letter] == ["//4="]
    assert all(letter["reason"] and letter["topic"] == "clickstream" for letter in letters)


def test_rules_that_catch_nothing_are_named(played: Played) -> None:
    """A rule of the catalogue that no event of the recording meets is a likely mistake: named, with its line."""
    catalogue = played.folder / "wrong.toml"
    catalogue.write_text(
        '[intent.ice]\ncategory = "ice_cream"\n\n[intent.tent]\ncategory = "tentt*"\nquery = ["big tentt"]\n'
    )
    done = _replay(played.recording, "--catalog", catalogue)
    assert f"{catalogue}:4: [intent.tent] caught nothing in this recording\n" in done.stderr
    assert "intent.ice" not in done.stderr


def test_a_model_that_is_none_is_refused(played: Played) -> None:
    """A file that is no snapshot is refused and named."""
    done = _replay(played.recording, "--model", played.catalogue)
    assert done.exit_code == 1 and f"{played.catalogue}: not a snapshot" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--in-process", "--speed", "60"], "--speed paces a replay into Kafka"),
        (["--in-process", "--save-model", "m"], "--save-model keeps what was learned: add --learn"),
        (["--in-process", "--scores", "same", "--intents", "same"], "two of the files are the same one"),
        (["--in-process", "--warm-start", "CATALOGUE"], "--warm-start is where learning begins: add --learn"),
        (["--in-process", "--learn", "--model", "CATALOGUE"], "stays as it is: with --learn say --warm-start"),
        (["--learn"], "--learn is for --in-process"),
        (["--warm-start", "CATALOGUE"], "--warm-start is for --in-process"),
        (["--scores", "s"], "--scores is for --in-process"),
        (["--catalog", "CATALOGUE"], "--catalog is for --in-process"),
        (["--partitions", "4"], "--partitions is for --in-process"),
        (["--speed", "fast"], "'fast' is neither a positive number (1: as it happened) nor max"),
        (["--speed", "-1"], "'-1' is neither a positive number"),
        (["--speed", "nan"], "'nan' is neither a positive number"),
    ],
)
def test_options_that_do_not_go_together(played: Played, arguments: list[str], said: str) -> None:
    """Options that make no sense together are wrong usage, said in words, and nothing is written."""
    given = [str(played.catalogue) if word == "CATALOGUE" else word for word in arguments]
    with CliRunner().isolated_filesystem(played.folder) as folder:
        done = CliRunner().invoke(cli, ["replay", str(played.recording), *given])
        assert not list(Path(folder).iterdir())
    assert done.exit_code == 2 and said in done.stderr


def test_the_recording_itself_is_not_written_over(played: Played) -> None:
    """A recording named as an output as well is refused before it is opened."""
    before = played.recording.read_bytes()
    done = _replay(played.recording, "--intents", played.folder / "." / "shop.jsonl")
    assert done.exit_code == 2 and played.recording.read_bytes() == before


def test_sorting_first(played: Played) -> None:
    """With --sort a recording in disorder gives the intents of the ordered one."""
    header, *lines = played.recording.read_bytes().splitlines()
    shuffled, out = played.folder / "disordered.jsonl", played.folder / "sorted.intents"
    shuffled.write_bytes(b"\n".join([header, *lines[800:], *lines[:800]]) + b"\n")
    assert _replay(shuffled, "--sort", "--learn", "--catalog", played.catalogue, "--intents", out).exit_code == 0
    assert out.read_bytes() == (played.folder / "intents.jsonl").read_bytes()


def _evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


def test_evaluate_prints_the_rule_beside_the_model(played: Played) -> None:
    """A table of both, and the same numbers as JSON."""
    scores = played.folder / "scores.jsonl"
    told = json.loads(_evaluate(scores, played.recording, "--catalog", played.catalogue, "--json").stdout)
    shown = _evaluate(scores, played.recording, "--catalog", played.catalogue).stdout
    for task, number in (("rank", told["rank"]["all"]["hit_1"]), ("rank", told["rank_rule"]["all"]["hit_1"])):
        assert f"{number:.4f}" in shown, task
    assert re.search(rf"detect: auc +│ +{told['detect']['auc']:.4f} │ +{told['detect_rule']['auc']:.4f} │", shown)
    assert f"{EVENTS:,} events" in shown and "lines were written before the model was ready" in shown
    assert told["missing_detect_lines"] == told["missing_rank_lines"] == told["unknown_lines"] == 0


def test_evaluate_the_first_events(played: Played) -> None:
    """--limit judges by the recording's first events; scores of later ones are said to be about nothing there."""
    shown = _evaluate(
        played.folder / "scores.jsonl", played.recording, "--catalog", played.catalogue, "--limit", "500"
    ).stdout
    assert "500 events (the first ones)" in shown
    assert re.search(r"\d+ lines of the scores are about events that are not there", shown)


def test_evaluate_refuses_what_are_no_scores(played: Played) -> None:
    """A file that is no scores file is refused with its line and the recording that it was taken for."""
    done = _evaluate(played.folder / "intents.jsonl", played.recording)
    assert done.exit_code == 1
    assert re.search(
        r"Error: .*intents\.jsonl: line 1 of the scores: .* Is it the scores file of .*shop\.jsonl\?", done.stderr
    )


def test_rules_on_names_that_catch_nothing_are_named(played: Played) -> None:
    """So is a rule on names that no product has; one that a product has is not."""
    catalogue = played.folder / "names.toml"
    catalogue.write_text('[intent.a]\nname = ["gas lamp", "tent"]\n[intent.b]\nname = "tentt"\n')
    lines = [b'{"event_id":"1","customer_id":"c","kind":"view","time":1,"name":"Dome TENT"}\n']
    recording = played.folder / "names.jsonl"
    recording.write_bytes(b"".join(lines))
    done = _replay(recording, "--catalog", catalogue)
    assert done.stderr == f"{catalogue}:3: [intent.b] caught nothing in this recording\n"


def test_rows_without_a_customer_are_counted(tmp_path: Path) -> None:
    """Rows of nobody are no events, refused nor worked, but they are told with their reason."""
    path = tmp_path / "retail.csv"
    path.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "1,2,LAMP,3,2010-12-01 08:26:00,1,7.0,Eire\n1,2,LAMP,3,2010-12-01 08:26:00,1,,Eire\n"
    )
    done = _replay(path)
    assert counted(done.output, "records read") == counted(done.output, "events worked") == 1
    assert counted(done.output, "rows left out: no CustomerID") == 1
    assert counted(done.output, "records refused") == 0
