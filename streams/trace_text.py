"""A traced event in words: one numbered section for each part of the way, with the files to read beside it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from textwrap import wrap
from typing import Final

import numpy as np

from features.apply import Wave, waves
from features.bundle import NEVER_RANK, Feature
from features.kinds import ASKED, KINDS, OUTCOMES, TOUCHES
from features.log import MORE
from features.state import States, decode
from features.windows import Asks, View, Window
from intents.candidates import Candidates
from intents.detect import Scored
from intents.examples import unpack
from intents.intent import STEP
from intents.journeys import Journeys
from intents.subjects import customer_hash
from intents.tables import MODEL_FEATURES
from sinks.records import Record
from streams.trace import Traced
from streams.words import Words, plain
from streams.wire import Event

WIDTH: Final = 110
"""Columns of the text."""
WINDOWS: Final = ("5m", "30m", "1d", "session", "since:purchase", "last:20", "pace:3")
_INDENT: Final = "   "
_JSON_LINES: Final = 9
_ENTRIES: Final = 4
_BY_LOG, _BY_MODEL = 5, 3  # features shown of each side
