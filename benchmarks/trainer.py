"""How fast a trainer learns: pairs a CPU second, from the examples of a recording, without Kafka.

`python -m benchmarks.trainer [RECORDING]` collects the examples that workers would publish, then reads and learns them,
both heads, tables and the choice between subjects; River's `StandardScaler | LogisticRegression` learns the same
columns, one pair at a time, in the same run.
"""

import asyncio
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from river import compose, linear_model, preprocessing

from benchmarks.part import Part, Spread
from benchmarks.rig import recording_or_made_up
from features.core_bundle import CORE
from intents.catalog import Catalogue
from intents.detect import Setup
from intents.model import Model
from intents.training import Trainer
from streams.inprocess import InProcess
from streams.recordings import open_recording

EVENTS = 15_000
RIVER_PAIRS = 3_000
HORIZON_MS = 30 * 60_000


class _Kept(Trainer):
    """A trainer that only keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(CORE, HORIZON_MS, durable=False)
        self.kept: list[bytes] = []

    def read(self, offset: int, record: bytes, at_ms: int = -1) -> None:
        self.kept.append(record)

    def resolve(self) -> int:
        return 0


async def _examples(path: Path) -> list[bytes]:
    catalogue = Catalogue()
    kept = _Kept()
    replay = InProcess(Setup(CORE, catalogue, catalogue.names), Model.untrained(CORE), trainer=kept)
    for batch in open_recording(path).batches(size=2_000, limit=EVENTS):
        async for _ in replay.run(batch):
            pass
    return kept.kept


def _learn(records: list[bytes]) -> float:
    trainer = Trainer(CORE, HORIZON_MS)
    began = time.process_time()
    for offset, record in enumerate(records):
        trainer.read(offset, record)
        trainer.resolve()
    spent = time.process_time() - began
    return (trainer.now.positives + trainer.now.negatives) / spent


def _river() -> float:
    dice = np.random.default_rng(3)
    columns = [
        {f"x{column}": value for column, value in enumerate(row)} for row in dice.random((RIVER_PAIRS, 45)).tolist()
    ]
    labels = (dice.random(RIVER_PAIRS) < 0.05).tolist()
    model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    began = time.process_time()
    for x, y in zip(columns, labels, strict=True):
        model.predict_proba_one(x)
        model.learn_one(x, y)
    return RIVER_PAIRS / (time.process_time() - began)


@click.command(help=__doc__)
@click.argument("recording", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=3, show_default=True, help="How often.")
def main(recording: Path | None, rounds: int) -> None:
    """Measure, and print one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        records = asyncio.run(_examples(recording_or_made_up(recording, Path(folder))))
    ours, river = zip(*((_learn(records), _river()) for _ in range(rounds)), strict=True)
    spreads = {
        "micro-intents, two heads, tables, choice": Spread.of(ours),
        "River as it is, one head": Spread.of(river),
    }
    notes = (f"the examples of {EVENTS:,} events",)
    click.echo(Part("trainer", "python -m benchmarks.trainer", "pairs a CPU second", spreads, notes).line())


if __name__ == "__main__":
    main()
