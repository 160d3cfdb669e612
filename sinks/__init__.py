"""Where records go: the `Sink` protocol, the outbox's records, intent events and dead letters.

Nothing here computes an intent. Open `records.py` first.
"""
