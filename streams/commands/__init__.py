"""The commands of `micro-intents`, one module each, loaded when they are called.

At their top they import nothing heavy, so that `micro-intents --help` is quick. Open `replay.py` first.
"""
