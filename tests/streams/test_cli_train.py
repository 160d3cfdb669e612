"""Learning from a recording, through the command line, and a trainer that is given what was learned."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from features.core_bundle import CORE
from intents.checkpoint import Checkpoint
from intents.evidence import Fold
from intents.model import Model
from intents.reading import Reading
from intents.snapshots import content_hash, decode, encode
from streams.cli import cli
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from tests.streams.test_cli_replay import counted

EVENTS = 1_600


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a few busy hours in a folder with its catalogue, a snapshot of each half, and one of all."""
    folder = tmp_path_factory.mktemp("shop")
    simulate(folder / "shop.jsonl", customers=60, events=EVENTS, days=0.4, seed=4)
    (folder / "shop.toml").write_text(DEMO_CATALOGUE)
    for name, part in (("all", []), ("one", ["--customers-fold", "1/2"]), ("two", ["--customers-fold", "2/2"])):
        done = train(folder / "shop.jsonl", "--save-model", folder / f"{name}.snapshot", *part)
        assert done.exit_code == 0, done.output
        (folder / f"{name}.said").write_text(done.stdout)
    return folder


def train(recording: Path, *arguments: str | Path) -> Result:
    """Learn from a recording with the shop's catalogue, which lies beside it."""
    catalogue = ["--catalog", recording.with_name("shop.toml")] if recording.with_name("shop.toml").exists() else []
    return CliRunner().invoke(cli, ["train", "--from", *map(str, (recording, *catalogue, *arguments))])


def replay(recording: Path, *arguments: str | Path) -> Result:
    """Replay a recording in process with the shop's catalogue."""
    catalogue = recording.with_name("shop.toml")
    words = ["replay", recording, "--in-process", "--catalog", catalogue, *arguments]
    return CliRunner().invoke(cli, list(map(str, words)))


def model_of(path: Path) -> Model:
    """A snapshot file's model."""
    return decode(path.read_bytes(), CORE).model


def test_the_model_is_that_of_a_learning_replay(shop: Path) -> None:
    """To the byte, and it has read nothing: it is what a store that begins with it holds."""
    again = shop / "again.snapshot"
    assert replay(shop / "shop.jsonl", "--learn", "--save-model", again).exit_code == 0
    content = (shop / "all.snapshot").read_bytes()
    assert again.read_bytes() == content
    checkpoint = decode(content, CORE)
    assert checkpoint.reading == checkpoint.base_reading == Reading() and not checkpoint.later
    assert encode(Checkpoint.beginning(checkpoint.model)) == content


def test_what_it_says(shop: Path) -> None:
    """Events, labels, how well it did before it learned them, and the file with its size."""
    said, model = (shop / "all.said").read_text(), model_of(shop / "all.snapshot")
    positives, negatives = model.now.positives, model.now.negatives
    assert model.ready and f"model: ready, {positives:,} positive and {negatives:,} negative labels" in said
    assert counted(said, "events worked") == EVENTS
    assert (
        0 < counted(said, "pairs judged, the last days above all") < positives + negatives
    )  # not those from before it was ready, and fading
    rows = ("AUC of what was said before", "  log loss ", "log loss of the fallback")
    area, loss, beside = (float(said.split(row)[1].split("│")[1]) for row in rows)
    assert 0.5 < area < 1 and 0 < loss < beside < 0.7
    size = (shop / "all.snapshot").stat().st_size
    assert f"wrote {shop}/all.snapshot ({size / 1000:,.0f} kB)" in said
    assert f"begin with it: micro-intents train --warm-start {shop}/all.snapshot" in said


def test_the_file_that_nobody_named(shop: Path) -> None:
    """It is model.snapshot where the command runs; one that is there stays whole until the new one is."""
    with CliRunner().isolated_filesystem(shop) as folder:
        path = Path(folder) / "model.snapshot"
        assert train(shop / "shop.jsonl", "--limit", "300").exit_code == 0
        before = path.read_bytes()
        broken = shop / "broken.jsonl.gz"
        broken.write_bytes(gzip.compress((shop / "shop.jsonl").read_bytes())[:-2_000])
        done = train(broken)
        assert done.exit_code == 1 and "damaged or cut gzip file" in done.stderr
        assert [path.name for path in Path(folder).iterdir()] == ["model.snapshot"] and path.read_bytes() == before


def test_a_fold_of_the_customers(shop: Path) -> None:
    """It learns from the recording as if the others' lines were not in it, and counts them; the folds are everybody."""
    header, *lines = (shop / "shop.jsonl").read_bytes().splitlines()
    worked = 0
    for number, name in ((1, "one"), (2, "two")):
        own = [line for line in lines if Fold(number, 2).holds(json.loads(line)["customer_id"])]
        alone, by_hand = shop / "alone.jsonl", shop / "alone.snapshot"
        alone.write_bytes(b"\n".join([header, *own]) + b"\n")
        assert train(alone, "--save-model", by_hand).exit_code == 0
        assert by_hand.read_bytes() == (shop / f"{name}.snapshot").read_bytes()
        said = (shop / f"{name}.said").read_text()
        assert counted(said, "events worked") == len(own)
        assert counted(said, "rows left out: customers of other folds") == EVENTS - len(own) > 300
        worked += len(own)
    assert worked == EVENTS


def test_the_first_events_of_a_fold(shop: Path) -> None:
    """Replay, training and evaluation mean the same events by --limit and --customers-fold."""
    scores, part = shop / "first.scores", ["--limit", "1000", "--customers-fold", "2/2"]
    done = replay(shop / "shop.jsonl", "--model", shop / "one.snapshot", "--scores", scores, *part)
    assert done.exit_code == 0
    assert (
        counted(done.output, "records read") + counted(done.output, "rows left out: customers of other folds") == 1_000
    )
    assert f"evaluate {scores} {shop}/shop.jsonl --catalog {shop}/shop.toml --customers-fold 2/2" in done.output
    words = ["evaluate", scores, shop / "shop.jsonl", "--catalog", shop / "shop.toml", "--json", *part]
    told = json.loads(CliRunner().invoke(cli, list(map(str, words))).stdout)
    assert told["missing_detect_lines"] == told["missing_rank_lines"] == told["unknown_lines"] == 0
    assert told["detect"]["pairs"] > 300


def test_learning_begins_with_another_model(shop: Path) -> None:
    """With --warm-start it knows what that snapshot knows, and learns more; in a replay it is ready at once."""
    both, scores = shop / "both.snapshot", shop / "warm.scores"
    rest: list[str | Path] = ["--customers-fold", "2/2", "--warm-start", shop / "one.snapshot", "--save-model", both]
    done = train(shop / "shop.jsonl", *rest)
    assert done.exit_code == 0
    # Of touched subjects: what is foreseen differs by what is known.
    labels = [model_of(shop / f"{name}.snapshot").now.touched.positives for name in ("one", "two", "both")]
    assert labels[2] == labels[0] + labels[1] and labels[1] > 100
    again = replay(shop / "shop.jsonl", "--learn", "--scores", scores, *rest)
    assert again.exit_code == 0
    assert all("ready" not in json.loads(line) for line in scores.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--save-model", "m"], "--save-model is for --from"),
        (["--limit", "5"], "--limit is for --from"),
        (["--sort"], "--sort is for --from"),
        (["--customers-fold", "1/2"], "--customers-fold is for --from"),
        (["--catalog", "SHOP"], "--catalog is for --from"),
        (["--from", "SHOP", "--broker", "b:1"], "--broker is for a trainer on Kafka"),
        (["--from", "SHOP", "--model-store", "m"], "--model-store is for a trainer on Kafka"),
        (["--from", "SHOP", "--save-model", "SHOP"], "the snapshot would replace the recording"),
        (["--from", "gone"], "File 'gone' does not exist"),
        (["--warm-start", "gone"], "File 'gone' does not exist"),
        (["--customers-fold", "3/2"], "'3/2' is no fold"),
    ],
)
def test_options_that_do_not_go_together(shop: Path, arguments: list[str], said: str) -> None:
    """Options that make no sense together are wrong usage, said in words, and nothing is written."""
    given = [str(shop / "shop.jsonl") if word == "SHOP" else word for word in arguments]
    before = (shop / "shop.jsonl").read_bytes()
    with CliRunner().isolated_filesystem(shop) as folder:
        done = CliRunner().invoke(cli, ["train", *given])
        assert not list(Path(folder).iterdir())
    assert done.exit_code == 2 and said in done.stderr
    assert (shop / "shop.jsonl").read_bytes() == before


def test_a_folder_that_is_not_there(shop: Path) -> None:
    """It is said before anything is learned, not after."""
    recording = shop / "damaged.jsonl.gz"
    recording.write_bytes(gzip.compress((shop / "shop.jsonl").read_bytes())[:-2_000])
    done = train(recording, "--save-model", shop / "gone" / "m")
    assert (done.exit_code, done.stderr) == (1, f"Error: {shop}/gone/m: No such file or directory\n")


@pytest.mark.parametrize("command", ["train", "train --from SHOP", "replay SHOP --in-process --learn"])
def test_a_warm_start_that_cannot_be_used(shop: Path, command: str) -> None:
    """Damaged, no snapshot at all, or of another bundle: the command ends at once, and says what to do."""
    good = (shop / "one.snapshot").read_bytes()
    name = CORE.hash.encode()
    contents = {
        good[:-9]: "a snapshot is cut short",
        b"{}": "not a snapshot",
        good.replace(name, name[::-1], 1): f"a snapshot is of bundle {CORE.name} {CORE.hash[::-1]}, not {CORE.hash}",
    }
    path = shop / "bad.snapshot"
    words = [str(shop / "shop.jsonl") if word == "SHOP" else word for word in command.split()]
    for content, why in contents.items():
        path.write_bytes(content)
        with CliRunner().isolated_filesystem(shop) as folder:
            environment = {"MICRO_INTENTS_BROKER": "127.0.0.1:1"}  # nobody: the file is looked at before
            done = CliRunner().invoke(cli, [*words, "--warm-start", str(path)], env=environment)
            assert not list(Path(folder).iterdir())
        assert done.exit_code == 1
        assert done.stderr.startswith(f"Error: {path}: {why}")
        assert done.stderr.endswith("learn one that fits: micro-intents train --from RECORDING\n")


def test_a_snapshot_is_named_by_its_content_in_a_store(shop: Path) -> None:
    """Whoever warm starts with the file, its name in the store is the same, by the file's own hash."""
    content = (shop / "one.snapshot").read_bytes()
    assert content_hash(encode(Checkpoint.beginning(model_of(shop / "one.snapshot")))) == content_hash(content)
