"""A trace shows one event's real values at every step of its way: those of an ordinary replay."""

import asyncio
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from features.core_bundle import CORE
from features.events import Chunk
from features.store import Cursor, PartitionKey
from features.tombstones import Tombstones
from intents.catalog import Catalogue
from intents.intent import Intent, JourneyStep, ModelName, Source
from intents.model import Model
from intents.training import Trainer
from streams.cli import cli
from streams.inprocess import Output
from streams.partition import Partition, Piece
from streams.partitioner import PARTITIONERS
from streams.recordings import open_recording
from streams.replay import Outputs, replay_in_process
from streams.settings import Settings
from streams.shop import DEMO_CATALOGUE
from streams.simulate import simulate
from streams.trace import trace
from streams.trace_again import Worked
from streams.trace_search import LOOK_ON, Search, Wanted
from streams.trace_text import Section, json_lines, span

ROOT = Path(__file__).parents[2]
MINUTE_MS = 60_000
WAY = (
    "A record arrives",
    "Decoded into columns; the catalogue finds its subject",
    "Into the customer's activity log",
    "Candidates, and the features of one",
    "Scored, and judged against the open intents",
    "Committed, all or nothing",
    "Published, then acknowledged",
    "Left for the trainer",
    "In words",
)


def run(*arguments: object, exit_code: int = 0) -> Result:
    """What `micro-intents trace` does."""
    result = CliRunner().invoke(cli, ["trace", *map(str, arguments)], prog_name="micro-intents")
    assert result.exit_code == exit_code, result.output
    return result


def parts(text: str) -> dict[str, list[str]]:
    """Lines of each section by its title; a line that was wrapped is one line again."""
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n")[1:]:
        head, *lines = block.splitlines()
        title = re.split(r" {2,}", head)[1]
        found[title] = []
        for line in lines:
            if line.startswith(" " * 6):
                found[title][-1] += " " + line.strip()
            else:
                found[title].append(line.strip())
    return found


def events_of(path: Path) -> list[dict[str, Any]]:
    """Events of one of our own recordings, its header left out."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [line for line in lines if "recording" not in line]


def published(text: str) -> dict[str, Any]:
    """The intent event that a trace shows."""
    lines = parts(text)["Published, then acknowledged"]
    joined = "".join(lines[next(n for n, line in enumerate(lines) if line.startswith("{")) :])
    found: dict[str, Any] = json.JSONDecoder().raw_decode(joined)[0]
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated recording, long enough for a model to get ready."""
    path = tmp_path_factory.mktemp("shop") / "shop.jsonl"
    simulate(path, customers=40, events=1200, days=1.0)
    return path


@pytest.fixture(scope="module")
def replayed(shop: Path) -> list[dict[str, Any]]:
    """Intent events that an ordinary learning replay of it publishes, in file order."""
    out = shop.with_name("intents.jsonl")
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    batches = open_recording(shop).batches()
    work = replay_in_process(
        batches, Settings(), catalogue, Outputs(intents=out), learn=True, partitions=8, told=lambda batch, summary: None
    )
    asyncio.run(work)
    return [json.loads(line) for line in out.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def told(shop: Path) -> str:
    """What the command prints without options."""
    return run(shop).stdout


def test_it_chooses_the_first_declared_journey_of_the_last_third(
    shop: Path, replayed: Sequence[dict[str, Any]], told: str
) -> None:
    """The event is the first of the last third whose new intent stands on a declared journey that goes on."""
    numbers = {event["event_id"]: n for n, event in enumerate(events_of(shop), 1)}
    late = [
        (numbers[intent["source"]["event_id"]], intent)
        for intent in replayed
        if intent["status"] == "detected" and numbers[intent["source"]["event_id"]] > 800
    ]
    declared = [(number, intent) for number, intent in late if intent["journey"]["name"] and intent["journey"]["next"]]
    assert late[0][0] < declared[0][0] < late[0][0] + LOOK_ON  # so that there is something to prefer
    assert f"Record {declared[0][0]:,} of 1,200 of shop.jsonl (made up)" in told
    assert published(told)["intent_id"] == declared[0][1]["intent_id"]


def test_it_shows_what_a_replay_publishes(replayed: Sequence[dict[str, Any]], told: str) -> None:
    """The intent event is the very one of an ordinary replay, the model's version included; so are its headers."""
    shown = published(told)
    assert shown in replayed
    (headers,) = [line for line in parts(told)["Published, then acknowledged"] if "headers" in line]
    assert headers.startswith(f"intents[{shown['source']['partition']}], key {shown['customer_id']}, headers ")
    for header in (
        "ce_specversion 1.0",
        f"ce_id {shown['intent_id']}/{shown['sequence']}",
        f"ce_source /clickstream/{shown['source']['partition']}",
        "ce_type micro_intents.intent.detected",
        "content-type application/json",
    ):
        assert f" {header}" in headers


def test_every_section_is_there_and_names_files_that_exist(told: str) -> None:
    """Nine numbered sections in the order of the way, each with files to open."""
    heads = re.findall(r"^(\d)  (.+?)  +(\S.*)$", told, re.MULTILINE)
    assert [(int(number), title) for number, title, _ in heads] == list(enumerate(WAY, 1))
    files = [file for _, _, named in heads for file in named.split(", ")]
    assert len(files) >= len(WAY)
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_it_fits_a_page(told: str) -> None:
    """At most 70 lines of at most 110 columns, without a terminal's control codes or trailing blanks."""
    lines = told.splitlines()
    assert len(lines) <= 70
    assert max(map(len, lines)) <= 110
    assert told.replace("\n", "").isprintable()
    assert [line for line in lines if line != line.rstrip()] == []


def test_it_repeats_to_the_byte(shop: Path, told: str) -> None:
    """Another process with another hash seed prints the same; nothing but the trace goes to stdout."""
    command = [sys.executable, "-c", "from streams.cli import main; main()", "trace", str(shop)]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "99"}, capture_output=True, check=True)
    assert done.stdout.decode() == told


def test_headings_are_bold_in_a_terminal_only(tmp_path: Path) -> None:
    """With colours wanted the headings are set off, and nothing else."""
    path = recording(tmp_path, view("a", 0))
    plain = run(path, "--event", "a").stdout
    coloured = CliRunner().invoke(cli, ["trace", str(path), "--event", "a"], color=True).stdout
    assert "\x1b[1m1  A record arrives" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_the_record_and_its_columns(shop: Path, told: str) -> None:
    """The record is the recording's line; its columns say the same."""
    shown, section = published(told), parts(told)
    (event,) = [event for event in events_of(shop) if event["event_id"] == shown["source"]["event_id"]]
    at, *lines = section["A record arrives"]
    assert json.loads("".join(lines)) == event
    source = shown["source"]
    place = f"clickstream[{source['partition']}] at offset {source['offset']:,}, key {event['customer_id']}"
    size = len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode())
    assert at == f"{place}, {size} bytes:"
    columns = " ".join(section["Decoded into columns; the catalogue finds its subject"])
    assert f"({event['kind']}) · time {event['time']} (" in columns
    assert f"value {round(event['price'] * 100)} (minor units)" in columns
    assert (
        f'= {shown["intent"]} ("{shown["label"]}"), stage {shown["journey"]["stage"]} of the declared journey'
        in columns
    )


def test_the_log_is_the_customers_history(shop: Path, told: str) -> None:
    """As many entries as the customer has events so far, the newest first, and in each window those that lie in it."""
    shown = published(told)
    everything = events_of(shop)
    number = [event["event_id"] for event in everything].index(shown["source"]["event_id"])
    mine = [event for event in everything[: number + 1] if event["customer_id"] == shown["customer_id"]]
    assert len(mine) <= 48  # nothing is folded yet
    section = parts(told)["Into the customer's activity log"]
    assert section[0].startswith(f"inserted; it sees {len(mine)} events and 0 tiles of older ones:")
    told_kinds = re.findall(r"\d\d:\d\d:\d\d  (\w+)", "\n".join(told.splitlines()))
    assert told_kinds[: len(mine[-4:])] == [event["kind"] for event in mine[::-1][:4]]
    for word, length_ms in (("5m", 5 * MINUTE_MS), ("30m", 30 * MINUTE_MS)):
        inside = [event for event in mine if event["time"] > mine[-1]["time"] - length_ms]
        assert re.search(rf"\b{word} {len(inside)} ·", told)
    assert f"last:20 {min(20, len(mine))} ·" in told


def test_the_score_adds_up(told: str) -> None:
    """Intercept and both sides give the logit, the logit gives p, and p is the intent's confidence."""
    shown = published(told)
    number = r"([+-]?\d+\.\d+)"
    line = rf"logit {number} \(intercept\) {number} \(log\) {number} \(model\) = {number}, .* = {number}$"
    found = re.search(line, told, re.MULTILINE)
    assert found
    base, by_log, by_model, logit, p = map(float, found.groups())
    assert base + by_log + by_model == pytest.approx(logit, abs=0.002)
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(p, abs=0.0005)
    assert p == shown["confidence"] >= 0.15
    assert f"{shown['intent']} {p:.4f}" in told
    assert f"{shown['intent']}: {p:.4f} ≥ 0.15 (threshold), neither open nor cooling down → detected" in told
    assert not re.search(rf"\b{shown['intent']}\b.*: 0.15 or more, but open|nothing changes", told)
    adds = {
        side: re.findall(rf"^     {side} +(\w+) .*adds ([+-]\d\.\d\d)", told, re.MULTILINE) for side in ("log", "model")
    }
    assert [len(adds["log"]), len(adds["model"])] == [5, 3]
    for found_adds in adds.values():
        sizes = [abs(float(size)) for _, size in found_adds]
        assert sizes == sorted(sizes, reverse=True)


def test_the_commit_takes_the_one_record(told: str) -> None:
    """It starts at the record's offset, ends behind it, and its outbox holds what the next sections show."""
    source = published(told)["source"]
    moves, state, outbox = parts(told)["Committed, all or nothing"]
    first, sequence = source["offset"], re.search(r"sequence ([\d,]+) → ([\d,]+)", moves)
    assert moves.startswith(f"clickstream[{source['partition']}]: start {first:,} → position {first + 1:,}, sequence")
    assert sequence
    before, after = (int(each.replace(",", "")) for each in sequence.groups())
    assert after == before + 1 > 5  # the replay's own count of commits
    assert re.match(r"state of \d+: [\d,]+ → [\d,]+ bytes, its next deadline 2024-", state)
    assert re.search(
        r"outbox of [\d,]+ bytes: \d records? for intents \([\d,]+\), 1 record for examples \([\d,]+\)", outbox
    )


def test_the_answer_is_what_the_recording_holds(shop: Path, told: str) -> None:
    """Candidates with a cart or purchase within the horizon are answered 1; the watermark to wait for is its end."""
    shown = published(told)
    section = " ".join(parts(told)["Left for the trainer"])
    end = shown["detected_at"] + 30 * MINUTE_MS
    candidates = re.findall(r"[\w]+", parts(told)["Candidates, and the features of one"][0])
    outcomes = {
        event["category"]
        for event in events_of(shop)
        if event["customer_id"] == shown["customer_id"]
        and event["kind"] in ("cart_add", "purchase")
        and shown["detected_at"] < event["time"] <= end
    }
    came = outcomes & set(candidates)
    size = re.search(rf"(\d) candidates × {len(CORE.features)} features", section)
    assert size
    assert f"y = 0 for {'the other' if came else 'all'} {int(size[1]) - len(came)}" in section
    assert all(re.search(rf"{name} was (carted|bought) after [^,;]+", section) for name in came)
    assert ("so y = 1" in section) == bool(came)
    assert re.search(r"learned once the watermark of clickstream\[\d\] is past \d\d:\d\d:\d\d, 30 min after", section)


def test_words_say_the_intent(told: str) -> None:
    """The last section is the sentence that the demo and `tail` say."""
    shown, words = published(told), parts(told)["In words"]
    plans = f"customer {shown['customer_id']} is planning a birthday: {shown['label']} → next: "
    assert words[0].startswith(plans)
    assert f", {round(100 * shown['confidence'])} %" in words[0]


def test_a_customers_first_intent(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """--customer tells of the first event of that customer that led to an intent, wherever it is."""
    detected = [intent for intent in replayed if intent["status"] == "detected"]
    other = next(intent for intent in detected if intent["customer_id"] != detected[0]["customer_id"])
    shown = published(run(shop, "--customer", other["customer_id"]).stdout)
    assert shown == other


def test_the_new_intent_is_told_of(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """Where an event changes several intents, the record is that of the new one, and the others are counted."""
    weakened = {intent["source"]["event_id"] for intent in replayed if intent["status"] == "weakened"}
    new = [intent for intent in replayed if intent["status"] == "detected"]
    several = next(intent for intent in new if intent["source"]["event_id"] in weakened)
    text = run(shop, "--event", several["source"]["event_id"]).stdout
    assert published(text) == several
    assert re.search(r"^   and \d changes? of other intents$", text, re.MULTILINE)


def test_features_are_those_of_the_changed_intent(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """Also where another candidate is likelier: one whose intent was open already."""
    said: dict[str, dict[str, float]] = {}
    for intent in replayed:
        others = said.setdefault(intent["customer_id"], {})
        if intent["status"] == "detected" and max(others.values(), default=0) > intent["confidence"] + 0.2:
            text = run(shop, "--event", intent["source"]["event_id"]).stdout
            likeliest = re.search(r"^   p: (\w+) ", text, re.MULTILINE)
            assert re.findall(r"(\w+) as numbers: ", text) == [intent["intent"]]
            if likeliest and likeliest[1] != intent["intent"]:
                return
        others[intent["intent"]] = intent["confidence"]
    pytest.fail("there is no such event in the recording")


def test_an_open_intent_is_silent(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """A view that only says again what was said publishes nothing, and the trace tells why."""
    changed = {intent["source"]["event_id"] for intent in replayed}
    views = [event for event in events_of(shop) if event["kind"] == "view"]
    for intent in [intent for intent in replayed if intent["status"] == "detected" and intent["confidence"] > 0.4]:
        mine = [event for event in views if event["customer_id"] == intent["customer_id"]]
        again = [event for event in mine if 0 < event["time"] - intent["detected_at"] < 2 * MINUTE_MS][:1]
        if again and again[0]["category"] == intent["intent"] and again[0]["event_id"] not in changed:
            section = parts(run(shop, "--event", again[0]["event_id"]).stdout)
            assert f"{intent['intent']}: 0.15 or more, but open with about this p, or cooling down" in section[WAY[4]]
            assert section[WAY[6]] == ["nothing: no intent changed"]
            assert section[WAY[8]] == ["nothing to say: no intent changed"]
            return
    pytest.fail("there is no such view in the recording")


def test_where_a_threshold_comes_from(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a target the trace says what threshold its model gave, and why."""
    monkeypatch.setenv("MICRO_INTENTS_THRESHOLD", "alarms=1")
    lines = parts(run(shop).stdout)[WAY[4]]
    (detected,) = [line for line in lines if "→ detected" in line]
    (why,) = [line for line in lines if line.startswith("threshold ")]
    found = re.search(r": (0\.\d+) ≥ (0\.\d+) \(threshold\)", detected)
    assert found and float(found[1]) >= float(found[2]) != 0.15
    assert re.match(rf"threshold {found[2]} (for|the nearest to) alarms=1: \d\.\d\d alarms per active customer", why)


def test_a_weak_view_changes_nothing(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """A ready model's view of a customer who has not led to an intent is below the threshold; the trace says so."""
    events = {event["event_id"]: place for place, event in enumerate(events_of(shop))}
    wanting: dict[str, int] = {}
    for intent in replayed:
        wanting.setdefault(intent["customer_id"], events[intent["source"]["event_id"]])
    views = [
        event
        for place, event in enumerate(events_of(shop))
        if event["kind"] == "view" and min(wanting.values()) < place < wanting.get(event["customer_id"], len(events))
    ]
    section = parts(run(shop, "--event", views[-1]["event_id"]).stdout)
    assert section[WAY[4]][-1] == "nothing changes: no p reaches the threshold, 0.15"
    assert section[WAY[6]] == ["nothing: no intent changed"]


def test_what_is_likely_within_a_day_is_told(tmp_path: Path, told: str) -> None:
    """Once the model knows of a day, the trace says what its intent says; before that it says nothing of it."""
    assert published(told)["soon"] is None and "within a day" not in told
    path = tmp_path / "days.jsonl"
    simulate(path, customers=40, events=3_000, days=2.5)
    out = tmp_path / "intents.jsonl"
    batches = open_recording(path).batches()
    files = Outputs(intents=out)
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    asyncio.run(
        replay_in_process(batches, Settings(), catalogue, files, learn=True, partitions=8, told=lambda batch, _: None)
    )
    last = [json.loads(line) for line in out.read_bytes().splitlines()][::-1]
    shown = next(intent for intent in last if intent["status"] == "detected" and intent["soon"] is not None)
    text = run(path, "--event", shown["source"]["event_id"]).stdout
    assert published(text) == shown
    assert f"within a day: {shown['soon']:.2f}" in " ".join(parts(text)[WAY[4]])


def test_the_most_telling_features_are_shown(shop: Path, told: str) -> None:
    """They are the five of the log and the three of the model that move the logit most, up or down."""
    wanted = Wanted(event_id=published(told)["source"]["event_id"])
    catalogue = Catalogue.parse(DEMO_CATALOGUE)
    traced = asyncio.run(trace(open_recording(shop), Settings(), catalogue, wanted, lambda batch, count: None))
    (scored,) = traced.step.detected.scored
    place = traced.changes[0][0].candidate
    head = traced.model.now.of(int(scored.candidates.rank[place]))
    read = scored.columns[CORE.leading :, place : place + 1]
    adds = head.contributions(read)[:, 0]
    names, size = traced.model.feature_names, len(CORE.features) - CORE.leading
    for side, columns, count in (("log", range(size), 5), ("model", range(size, len(names)), 3)):
        most = sorted(columns, key=lambda column: -abs(adds[column]))[:count]
        shown = re.findall(rf"^     {side} +(\w+) +(-?\d+\.\d+)  adds ([+-]\d\.\d\d)", told, re.MULTILINE)
        values = [(names[c], f"{read[c, 0]:.3f}", f"{adds[c]:+.2f}") for c in most]
        assert shown == values


def test_an_answer_that_came(shop: Path) -> None:
    """An outcome within the horizon is told with the time it took; one after it is not."""
    events = events_of(shop)
    view_, outcome = next(
        (a, b)
        for n, a in enumerate(events)
        for b in events[n + 1 :]
        if a["kind"] == "view" and b["kind"] == "cart_add" and a["customer_id"] == b["customer_id"]
        and a.get("category") == b["category"] and 5 * MINUTE_MS < b["time"] - a["time"] < 30 * MINUTE_MS
    )  # fmt: skip
    text = " ".join(parts(run(shop, "--event", view_["event_id"]).stdout)[WAY[7]])
    told_ = re.search(rf"{view_['category']} was (?:carted|bought) after ([^,;]+)", text)
    firsts = [
        event
        for event in events
        if event["customer_id"] == view_["customer_id"]
        and event["kind"] in ("cart_add", "purchase")
        and event["category"] == view_["category"]
        and view_["time"] < event["time"] <= outcome["time"]
    ]
    assert told_ is not None
    assert told_[1] == span(firsts[0]["time"] - view_["time"])


def test_the_event_that_fulfils(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """--event tells of any event: an outcome ends an intent, answers the trainer, and is not asked."""
    ends = [intent for intent in replayed if intent["status"] == "fulfilled"]
    text = run(shop, "--event", ends[-1]["source"]["event_id"]).stdout
    section = parts(text)
    assert published(text) in ends
    assert section["Candidates, and the features of one"][0].startswith("just before this outcome, touched last: ")
    assert any(line.endswith("while it is open → fulfilled") for line in section[WAY[4]])
    assert ": outcome, source " in section["Left for the trainer"][0]
    assert "got it: " in section["In words"][0]


def test_deadlines_come_before_the_event(shop: Path, replayed: Sequence[dict[str, Any]]) -> None:
    """Where the event's watermark passes the end of an intent, that expires in its commit, and the trace says so."""
    expired = [intent for intent in replayed if intent["status"] == "expired"][-1]
    passes = next(
        event
        for event in events_of(shop)
        if event["time"] - 2 * MINUTE_MS > expired["expires_at"]
        and PARTITIONERS["murmur2"](event["customer_id"].encode(), 8) == expired["source"]["partition"]
    )
    text = run(shop, "--event", passes["event_id"]).stdout
    assert re.match(r"first, \d+ intents? of this partition expired: the watermark passed", parts(text)[WAY[4]][0])
    assert passes["customer_id"] != expired["customer_id"]
    assert re.search(r"; and \d other states?$", parts(text)[WAY[5]][1])


def test_the_commits_of_a_short_recording(own: Path) -> None:
    """Each record is told as the commit after one of all that came before it, with the names that it brings."""
    commits = {event: parts(run(own, "--event", event).stdout)[WAY[5]] for event in ("first", "second", "late")}
    moves = {event: lines[0].split(", watermark")[0].split(": ")[1] for event, lines in commits.items()}
    assert moves == {
        "first": "start 0 → position 1, sequence 0 → 1",
        "second": "start 1 → position 2, sequence 1 → 2",
        "late": "start 2 → position 3, sequence 1 → 2",
    }
    names = {event: lines[-1].split(";")[0] for event, lines in commits.items()}
    assert names == {"first": "new names: tents", "second": "new names: books�[31m", "late": "new names: none"}
    assert [len(lines) for lines in commits.values()] == [3, 3, 3]
    assert "other state" not in str(commits)


def intent(offset: int, journey: JourneyStep) -> Intent:
    """A new intent by the record at that offset of partition 0."""
    source, model = Source("clickstream", 0, offset, ""), ModelName("m", "1", "main")
    return Intent("i", 0, "c", "tents", "Tents", "detected", 0.5, journey, [], 0, 0, 0, model, source)


DECLARED, LEARNED = JourneyStep("trip", 1, "lamps"), JourneyStep(None, None, "lamps")


@pytest.mark.parametrize(
    ("offset", "journey", "chosen", "over"),
    [
        (12, DECLARED, 13, True),
        (15, DECLARED, 16, True),
        (16, DECLARED, 11, True),
        (12, LEARNED, 11, False),
        (16, LEARNED, 11, True),
    ],
)
def test_a_declared_journey_is_waited_for_but_not_for_ever(
    tmp_path: Path, offset: int, journey: JourneyStep, chosen: int, over: bool
) -> None:
    """After a first intent (record 11), five records are looked through for one on a declared journey."""
    customer = next(str(n) for n in range(100) if PARTITIONERS["murmur2"](str(n).encode(), 8) == 0)
    path = recording(tmp_path, *(view(f"e{n}", n, customer_id=customer) for n in range(40)))
    search = Search(open_recording(path), "murmur2", Wanted(customer_id="c"), 2, look_on=5)
    partition = Partition(
        PartitionKey("default", "clickstream", 0), Cursor("t", 0, 0, 0), set(), [], Tombstones(b"key")
    )

    def look(start: int, end: int, found: Intent) -> None:
        piece = Piece(partition, Chunk.empty("clickstream", 0, start, end), [])
        search.look(Output(intents=[(found, b"")]), [Worked([piece], [{}], Model.untrained(CORE))])

    look(0, 11, intent(10, LEARNED))
    assert not search.over
    look(11, offset + 1, intent(offset, journey))
    assert search.found is not None
    assert (search.found.number, search.over) == (chosen, over)


def test_a_model_that_loses(shop: Path, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the fallback is served, nothing is told of features that did not speak."""
    frozen = Trainer.model
    monkeypatch.setattr(Trainer, "model", lambda trainer: replace(frozen(trainer), losing=True))
    found = parts(run(shop, "--event", published(told)["source"]["event_id"]).stdout)
    assert found["Scored, and judged against the open intents"][1] == (
        "the model loses to its fallback: these are outcome rates by recency"
    )
    assert len(found["Candidates, and the features of one"]) == 1


# Events of a recording written by hand: no catalogue, a model that is not ready


def view(event_id: str, at_ms: int, **more: object) -> dict[str, object]:
    """A view of customer c, `at_ms` after a moment of 2024."""
    return {"event_id": event_id, "customer_id": "c", "kind": "view", "time": 1_717_000_000_000 + at_ms} | more


def recording(directory: Path, *events: dict[str, object]) -> Path:
    """A recording of these events."""
    path = directory / "own.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One event of each fate."""
    basket = [{"category": "tents", "price": 9.5, "quantity": 2}, {"category": "books"}]
    return recording(
        tmp_path_factory.mktemp("own"),
        view("first", 0, category="tents", price=3.0),
        view("second", 5_000, category="books\x1b[31m"),
        view("late", 1_000, category="tents"),
        view("first", 6_000, category="tents"),
        view("liked", 7_000, category="tents", kind="favorite"),
        view("shown", 8_000, category="tents", kind="impression"),
        view("nothing", 9_000),
        view("basket", 10_000, kind="purchase", items=basket),
        view("merged", 11_000, kind="merge"),
        view("unknown", 12_000, kind="nonsense"),
        view("long", 13_000, category="tents", name="n" * 1000),
        view("gone", 14_000, kind="forget"),
        view("dead", 13_500, category="tents"),
        view("other", 15_000, category="tents", customer_id="d"),
    )


LOG, ASKED, JUDGED, PUBLISHED, LEFT = (WAY[n] for n in (2, 3, 4, 6, 7))


@pytest.mark.parametrize(
    ("event", "section", "said"),
    [
        ("first", JUDGED, "the model is not ready: these are outcome rates by recency, and nothing is published"),
        ("first", LEFT, "the recording ends before that"),
        ("second", ASKED, "touched last: books�[31m, tents · likely next: nothing"),
        ("late", LOG, "late, inserted at its own time; it sees 2 events and 0 tiles of older ones:"),
        ("late", ASKED, "nothing is asked: a newer event of the customer came before it"),
        ("liked", ASKED, "nothing is asked: favorite only touches its subject"),
        ("shown", ASKED, "nothing is asked: impression is only logged"),
        ("shown", PUBLISHED, "nothing: no intent changed"),
        ("shown", LEFT, "only the watermark: the event asks nothing and answers nothing"),
        ("nothing", ASKED, "nothing is asked: the event has no subject"),
        ("nothing", WAY[1], "no subject: neither its category nor its words name one"),
        ("basket#1", LEFT, "examples[0]: outcome, source 7/1, "),
        ("basket#1", LOG, "inserted; it sees 8 events and 0 tiles of older ones:"),
        ("basket", LEFT, "examples[0]: outcome, source 7/0, "),
        ("long", WAY[0], "… (1,"),
        ("gone", LOG, "everything before it is erased; it sees 0 events and 0 tiles of older ones:"),
        ("dead", LOG, "a duplicate, or forgotten, so not inserted; it sees 0 events and 0 tiles of older ones:"),
        ("dead", ASKED, "nothing is asked"),
    ],
)
def test_every_fate_is_told(own: Path, event: str, section: str, said: str) -> None:
    """Whatever becomes of an event, each section says it, on one page and without control characters."""
    text = run(own, "--event", event).stdout
    assert tuple(parts(text)) == WAY
    assert [line for line in parts(text)[section] if line.startswith(said)], parts(text)[section]
    assert len(text.splitlines()) <= 70
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(("event", "reason"), [("merged", "kind merge is reserved"), ("unknown", "Invalid enum value")])
def test_a_refused_record_goes_to_the_dead_letters(own: Path, event: str, reason: str) -> None:
    """The trace ends there; the commit moves the position all the same."""
    section = parts(run(own, "--event", event).stdout)
    assert tuple(section) == ("A record arrives", "It is refused", "Committed, all or nothing")
    assert "clickstream.dead-letter" in section["It is refused"][0]
    assert reason in section["It is refused"][1]
    assert len(section["Committed, all or nothing"]) == 2  # nobody's state


def test_a_duplicate_is_told_as_such(own: Path, tmp_path: Path) -> None:
    """An id that comes twice names its first record; the second, under that id, changes nothing."""
    assert "Record 1 of 14" in run(own, "--event", "first").stdout
    lines = own.read_text().splitlines()
    again = tmp_path / "again.jsonl"
    again.write_text("\n".join([lines[1], lines[0].replace('"first"', '"second"')]) + "\n")
    assert "inserted" in parts(run(again, "--event", "second").stdout)[LOG][0]


def test_categories_are_subjects_without_a_catalogue(own: Path, tmp_path: Path) -> None:
    """Only a simulated recording brings its catalogue; --catalog gives another one."""
    assert '= tents ("tents")' in run(own, "--event", "first").stdout
    catalogue = tmp_path / "own.toml"
    catalogue.write_text('[intent.camping]\nlabel = "Camping"\ncategory = ["tent*"]\n')
    assert '= camping ("Camping")' in run(own, "--event", "first", "--catalog", catalogue).stdout


def test_a_given_catalogue_goes_before_the_shops(shop: Path, tmp_path: Path) -> None:
    """--catalog counts for a simulated recording too."""
    first = events_of(shop)[0]
    catalogue = tmp_path / "own.toml"
    catalogue.write_text('[intent.all]\nlabel = "Everything"\ncategory = ["*"]\nquery = ["x"]\n')
    text = run(shop, "--event", first["event_id"], "--catalog", catalogue).stdout
    assert '= all ("Everything")' in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--event", "nobody"], "has no event 'nobody'"),
        (["--customer", "nobody"], "has no event of customer 'nobody'"),
        (["--customer", "d"], "no event of the 1 of customer d led to an intent; "),
        ([], "last third led to an intent; any event's way is shown by --event, say --event other"),
    ],
)
def test_what_cannot_be_traced_is_said(own: Path, options: list[str], said: str) -> None:
    """Exit code 1, one line that names an event which can be traced, and nothing on stdout."""
    result = run(own, *options, exit_code=1)
    assert said in result.stderr
    assert not result.stdout


def test_one_event_at_a_time(own: Path) -> None:
    """--customer and --event together are wrong usage."""
    assert "give one of them" in run(own, "--customer", "c", "--event", "first", exit_code=2).stderr


def test_a_json_text_is_shown_as_it_is() -> None:
    """Its lines put together again are the text; only what is very long is cut, and says so."""
    text = json.dumps({f"field_{n}": "x" * n for n in range(22)}, separators=(",", ":")).encode()
    assert "".join(json_lines(text)).encode() == text
    assert max(map(len, json_lines(text))) <= 107
    long = json.dumps({"a": "b" * 5000}).encode()
    assert json_lines(long)[-1] == f"… ({len(long):,} bytes altogether)"
    assert len(json_lines(long)) <= 9


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (90_000, "1 min 30 s"), (3_600_000, "1 h"), (90_061_000, "1 d 1 h")],
)
def test_lengths_of_time(ms: int, said: str) -> None:
    """Two units at most, none of them zero."""
    assert span(ms) == said


def test_a_section_wraps_its_lines() -> None:
    """Long lines go on further to the right; ids are not taken apart, nothing is lost."""
    head, *lines = Section("Title", "a/b.py", ["sim7-000042 " * 30]).text(3)
    assert head == f"3  Title{'a/b.py':>102}"
    assert all(len(line) <= 110 for line in lines)
    assert lines[0].startswith("   sim7")
    assert lines[1].startswith("      sim7")
    assert " ".join(lines).split() == ["sim7-000042"] * 30
