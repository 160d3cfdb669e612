"""What a perfect job would leave of some thousands of the feed's records, to judge the judge by."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

from streams.partitioner import partitions_for
from streams.settings import Settings
from streams.simulate import simulate
from tests.job import PARTITIONS, InProcessRun, cut, first_records, learned
from tests.soak.feed import stream
from tests.soak.judge import Verdict, naive_run
from tests.soak.learning import Listener
from tests.soak.outcome import Letter, Outcome
from tests.soak.retention import Cut, Row

SETTINGS: Final = Settings()
RECORDS: Final = 6_000

Clean = tuple[Outcome, bytes]


def sent_and_learned(folder: Path) -> tuple[dict[int, list[Row]], bytes]:
    """The log of records sent, over ten days of event time, and a snapshot of a model."""
    path = folder / "shop.jsonl"
    simulate(path, events=9_000, customers=240, days=18)
    batch = first_records(path, 9_000)
    log: dict[int, list[Row]] = {number: [] for number in range(PARTITIONS)}
    sent = list(islice(stream(cut(batch, 4_000, 9_000), seed=3), RECORDS))
    for (key, value), place in zip(sent, partitions_for([key for key, _ in sent], PARTITIONS).tolist(), strict=True):
        log[place].append(Row(key, value, 1_790_000_000_000))
    return log, learned(cut(batch, 0, 4_000))


def perfect(log: dict[int, list[Row]], snapshot: bytes, gone: dict[int, Cut] | None = None) -> Outcome:
    """What a perfect job leaves of a log, of which some records were deleted before it read them."""
    outcome = Outcome(log, {}, [], {}, cut=gone or {})
    outcome.told = Counter((number, first, end) for number, (first, end, _) in outcome.cut.items())
    listener = Listener()
    alone = InProcessRun(outcome.as_recording(), snapshot, SETTINGS, to=listener)
    logs, unverifiable, _ = naive_run(outcome, SETTINGS)
    outcome.examples = listener.told
    outcome.intents = {number: list(values) for number, values in alone.intents.items()}
    for number, offset in outcome.bad() | unverifiable:
        row = log[number][offset]
        outcome.letters.append(Letter(SETTINGS.clickstream, number, offset, row.key, (row.value or b"")[:900_000]))
    found = alone.states(SETTINGS, [name.encode() for name in logs])
    outcome.states = {name: state for name, state in found.items() if state is not None}
    return outcome


def wrong(verdict: Verdict) -> dict[str, int]:
    """What a verdict holds against a run."""
    right = {"events", "forgotten", "intents", "plain_repeats", "letters", "examples", "labels", "gone", "gone_told"}
    return {name: value for name, value in vars(verdict).items() if name not in {*right, "words"} and value}
