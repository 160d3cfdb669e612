"""Faust app, agents, wire schemas, settings, recordings, commands: the wiring around the detect step.

Only `settings.py` reads the environment. Open `worker.py` first, then `cli.py`.
"""
