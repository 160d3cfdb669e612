"""`micro-intents doctor`: whether everything is there, and as it must be."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from streams.commands.options import with_settings

if TYPE_CHECKING:
    from streams.findings import Finding
    from streams.settings import Settings

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command("doctor", short_help="See whether everything is there, and as it must be.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: findings, and whether all is well.")
@with_settings("broker", "redis_url", "namespace", "model", "model_store", "catalogue", "partitioner")
def command(as_json: bool, settings: "Settings") -> None:
    """Look at the broker, the topics, where keys lie, the workers' lag, Redis, the catalogue and the model.

    \b
    micro-intents doctor
    micro-intents doctor --json | jq '.findings[] | select(.status == "problem")'

    Exit code 1 if there is a problem. A note needs nobody at once: a model that is not ready yet, a worker not started.
    """
    from streams.checkup import examine

    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            _print(finding)
    problems = sum(finding.status == "problem" for finding in findings)
    if as_json:
        told = {"well": not problems, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    elif problems:
        click.echo(f"\n{problems} problem{'s' if problems > 1 else ''}")
    click.get_current_context().exit(1 if problems else 0)


def _print(finding: "Finding") -> None:
    from streams.words import plain

    status = click.style(f"{finding.status:8}", fg=_COLOURS[finding.status], bold=finding.status == "problem")
    click.echo(f"{status} {finding.check}: {plain(finding.found)}")
    if finding.advice:
        click.echo(f"{'':9}→ {plain(finding.advice)}")
