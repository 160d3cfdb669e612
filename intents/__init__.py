"""From features to intents: the catalogue, the detect step, an intent's life, River models, training and evaluation.

Knows nothing of Faust, Kafka or Redis. River lives here and nowhere else. Open `detect.py` first.
"""
