"""Whether a topic is the one that states were made from: one made anew has the same name, and other records."""

from typing import Final

from features.store import PartitionKey

LOOK_S: Final = 3.0
"""How often Kafka is asked for the id while a worker runs: making a topic anew need not lead to a claim."""

LAG_S: Final = 0.5
"""How long after another id Kafka is asked again: a broker may not have heard yet of a topic that was made anew."""


class TopicMadeAnew(Exception):
    """A topic has another id than when its states were made: a person must decide."""


def is_another(before: str, now: str) -> bool:
    """Whether an id is not the one that the states remember; "": not known."""
    return bool(before and now and before != now)


def compare(key: PartitionKey, before: str, now: str) -> None:
    """Raise TopicMadeAnew if the topic's id was another one, as the states remember."""
    if is_another(before, now):
        raise TopicMadeAnew(
            f"the topic {key.topic} was made anew: its id is {now}, but the states of {key.topic}/{key.partition} were "
            f"made from {before}, and its records are others now. Stop all workers; then, to begin again with what it "
            "has now, set MICRO_INTENTS_NAMESPACE and MICRO_INTENTS_GROUP to new names; or, if it was restored with "
            "the same records at the same offsets, have its id forgotten, for every partition: redis-cli HDEL "
            f"'{key.prefix}meta' topic_id"
        )
