"""JSON Schemas of the topics' values, generated from the types and shipped as `clickstream.json` and `intents.json`.

After a change of the types write them anew: `python -m streams.schemas`.
"""

import json
from importlib.resources import files
from typing import Any, Final

import msgspec

from intents.intent import Intent
from streams.wire import Event

TYPES: Final[dict[str, type[msgspec.Struct]]] = {"clickstream": Event, "intents": Intent}
"""What each topic's values are."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def generated(name: str) -> str:
    """The schema of a topic's values as its type is now."""
    schema: dict[str, Any] = {"$schema": _DIALECT, **msgspec.json.schema(TYPES[name])}
    for described in schema["$defs"].values():
        described["description"] = " ".join(described["description"].split())  # wherever a docstring is broken
    return json.dumps(schema, indent=2) + "\n"


def shipped(name: str) -> str:
    """The schema as it comes with the package."""
    return files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
