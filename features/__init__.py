"""Everything about one customer: event columns, the activity log, windows, features, and the stores that keep them.

Knows nothing of models, intents or Kafka clients. Redis lives here and nowhere else.
Open `log.py` first, then `windows.py`, `bundle.py` and `store.py`.
"""
