"""The console command `micro-intents`: a group whose commands are loaded when they are called."""

import logging
import sys
from importlib import import_module
from typing import Final

import click

COMMANDS: Final = (
    "demo",
    "simulate",
    "replay",
    "evaluate",
    "themes",
    "journeys",
    "trace",
    "topics",
    "worker",
    "train",
    "tail",
    "forget",
    "doctor",
    "schemas",
)
"""Names of the commands, in the order in which a newcomer needs them; each is `command` of its module."""


class Stopped(click.ClickException):
    """Ctrl-C: not a failure, but not finished either."""

    exit_code = 130


class Commands(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"streams.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; Ctrl-C ends it with one word and code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped("stopped by Ctrl-C") from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="micro-intents", prog_name="micro-intents")
def cli() -> None:
    """Micro-intents: what each customer of a shop wants next, from its clickstream.

    \b
    A first look, with nothing else installed:   micro-intents demo
    What a model is worth on your recording:     micro-intents replay FILE --in-process --learn --scores scores.jsonl
                                                 micro-intents evaluate scores.jsonl FILE
    With Kafka and Redis:                        micro-intents topics create; micro-intents doctor
                                                 micro-intents worker; micro-intents train; micro-intents tail

    Settings come from MICRO_INTENTS_* variables, and from the TOML file that MICRO_INTENTS_FILE names.
    """


def main() -> None:
    """Entry point of the console command; exits 0, 1 for failures, 2 for wrong usage, 130 after Ctrl-C."""
    # Clients report every attempt; commands say what came of them. `worker` and `train` turn the log on.
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL + 1)
    cli(prog_name="micro-intents")
