"""Writes the shipped schemas anew, where the package's sources are."""

from pathlib import Path

from streams.schemas import TYPES, generated

for name in TYPES:
    Path(__file__).with_name(f"{name}.json").write_text(generated(name), encoding="utf-8")
