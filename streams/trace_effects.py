"""What a traced event leaves behind: commit, published intents, examples entry; and the whole trace in its order."""

from typing import Final

from intents.examples import Examples, unpack
from sinks.records import Record
from streams.trace import Traced
from streams.trace_detect import Focus, candidates, columns, judgement, log
from streams.trace_text import Section, clock, counted, cut, day_and_time, json_lines, span
from streams.words import Words

_BECAME: Final = {"cart_add": "carted", "purchase": "bought"}


def opening(traced: Traced) -> str:
    """What is traced, and how much the model had learned by then."""
    made_up = " (made up)" if (traced.recording.header or {}).get("made_up") else ""
    place = f"Record {traced.number:,} of {traced.total:,} of {cut(traced.recording.path.name)}{made_up}"
    labels = traced.model.now
    return f"{place}; the model knows {labels.positives:,} positive and {labels.negatives:,} negative labels"


def sections(traced: Traced) -> list[Section]:
    """The way of the traced event, part by part."""
    if traced.event < 0:
        return [_record(traced), _refused(traced), _commit(traced)]
    focus = Focus(traced)
    seen = [_record(traced), columns(focus), log(focus), candidates(focus), judgement(focus)]
    return [*seen, _commit(traced), _published(traced), _examples(focus), _words(traced)]


def _source(traced: Traced) -> str:
    chunk = traced.step.pieces[0].chunk
    return f"{chunk.topic}[{chunk.partition}]"


def _record(traced: Traced) -> Section:
    key = cut(traced.key.decode(errors="replace"))
    at = f"{_source(traced)} at offset {traced.commit.position - 1:,}, key {key}, {len(traced.value):,} bytes:"
    return Section("A record arrives", "streams/wire.py", [at, *json_lines(traced.value)])


def _refused(traced: Traced) -> Section:
    letter = traced.dead
    assert letter is not None  # what has no event was refused, and said why
    headers = " · ".join(f"{name} {cut(value.decode(), 200)}" for name, value in letter.headers)
    lines = [f"nothing is applied; its bytes go to {letter.topic}, with the headers", headers]
    return Section("It is refused", "streams/wire.py, streams/dead_letters.py", lines)


def _commit(traced: Traced) -> Section:
    commit, step, customer = traced.commit, traced.step, traced.key.decode(errors="replace")
    moves = (
        f"start {commit.start:,} → position {commit.position:,}, sequence {commit.sequence:,} → {commit.sequence + 1:,}"
    )
    lines = [f"{_source(traced)}: {moves}, watermark {clock(commit.watermark_ms)}"]
    if customer in step.pieces[0].chunk.customers:
        before, after = traced.before[step.customers.index(customer)] or b"", commit.states[customer] or b""
        moved = [name for name, blob in zip(step.customers, traced.before, strict=True) if commit.states[name] != blob]
        at, others = commit.deadlines[customer], len(set(moved) - {customer})
        deadline = f", its next deadline {day_and_time(at)}" if at is not None else ""
        also = f"; and {counted(others, 'other state')}" if others else ""
        lines.append(f"state of {cut(customer)}: {len(before):,} → {len(after):,} bytes{deadline}{also}")
    sizes: dict[str, list[int]] = {}
    for record in step.records[0]:
        sizes.setdefault(record.topic, []).append(len(record.value))
    out = ", ".join(f"{counted(len(each), 'record')} for {topic} ({sum(each):,})" for topic, each in sizes.items())
    names = ", ".join(map(cut, commit.names.values())) or "none"
    lines.append(f"new names: {names}; outbox of {len(commit.outbox):,} bytes: {out}")
    return Section("Committed, all or nothing", "features/store.py, features/commit.lua", lines)


def _published(traced: Traced) -> Section:
    lines: list[str] = []
    for _, _, record in traced.changes[:1]:
        headers = " · ".join(f"{name} {value.decode()}" for name, value in record.headers)
        lines.append(f"{record.topic}[{record.partition}], key {cut((record.key or b'').decode())}, headers {headers}")
        lines += json_lines(record.value)
    if len(traced.changes) > 1:
        lines.append(f"and {counted(len(traced.changes) - 1, 'change')} of other intents")
    files = "intents/reports.py, sinks/events.py"
    return Section("Published, then acknowledged", files, lines or ["nothing: no intent changed"])


def _examples(focus: Focus) -> Section:
    title, files = "Left for the trainer", "intents/examples.py, intents/training.py"
    step = focus.traced.step
    for record in step.records[0][len(step.detected.changes) :]:
        lines = _entry(focus, record, unpack(record.value))
        if lines:
            return Section(title, files, lines)
    return Section(title, files, ["only the watermark: the event asks nothing and answers nothing"])


def _entry(focus: Focus, record: Record, examples: Examples) -> list[str]:
    """The event's entry in an examples record, in words; empty if it has none."""
    at = (int(focus.batch.offset[focus.event]), int(focus.batch.index[focus.event]))
    topic = f"{record.topic}[{record.partition}]"
    for entry in examples.asked:
        if (int(entry["offset"]), int(entry["index"])) == at:
            who = f"customer 0x{int(entry['customer']):016x} (keyed hash)"
            size = f"{int(entry['candidates'])} candidates × {len(examples.vectors)} features"
            return [f"{topic}: asked, source {at[0]}/{at[1]}, {who}, {size}", *_answer(focus)]
    for entry in examples.outcomes:
        if (int(entry["offset"]), int(entry["index"])) == at:
            who = f"customer 0x{int(entry['customer']):016x} (keyed hash)"
            recent = counted(int(entry["recent"]), "recent subject")
            return [
                f"{topic}: outcome, source {at[0]}/{at[1]}, {who}, after {recent}",
                "it answers the open questions about this customer and subject, and counts as a move from those before",
            ]
    return []


def _answer(focus: Focus) -> list[str]:
    assert focus.question is not None  # only what was asked has an asked entry
    names, horizon = focus.names(focus.question), focus.rules.horizon_ms
    due = f"learned once the watermark of {_source(focus.traced)} is past {clock(focus.time + horizon)}"
    lines = [f"{due}, {span(horizon)} after the event"]
    if not focus.traced.answer.known:
        return [*lines, "the recording ends before that"]
    outcomes = {cut(name): came for name, came in focus.traced.answer.outcomes.items()}
    came = [
        f"{name} was {_BECAME[outcomes[name][1]]} after {span(outcomes[name][0])}" for name in names if name in outcomes
    ]
    if not came:
        return [*lines, f"as the recording goes on: y = 0 for all {len(names)}"]
    return [
        *lines,
        f"as the recording goes on: {', '.join(came)}, so y = 1; y = 0 for the other {len(names) - len(came)}",
    ]


def _words(traced: Traced) -> Section:
    words = Words(traced.setup.catalogue.labels)
    lines = [words.say(intent) for _, intent, _ in traced.changes]
    return Section("In words", "streams/words.py", lines or ["nothing to say: no intent changed"])
