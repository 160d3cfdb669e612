"""compose.yaml and the Dockerfile, as far as they can be checked without a container engine."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from streams.children import free_port
from streams.endpoints import Endpoints, Trouble
from streams.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as a container engine reads it, with merged keys."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def _validate(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_follows_the_specification(tmp_path: Path) -> None:
    """The compose specification's own schema accepts the file, and refuses it with one key misspelt."""
    accepted = _validate(COMPOSE)
    assert accepted.returncode == 0, accepted.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    refused = _validate(wrong)
    assert refused.returncode != 0 and "healthchek" in refused.stdout


def test_names_that_the_schema_does_not_follow(compose: dict[str, Any]) -> None:
    """Whatever a service waits for or mounts is declared, and what it waits for to be healthy has a health check."""
    services = compose["services"]
    for name, service in services.items():
        for needed, wait in service.get("depends_on", {}).items():
            assert needed in services, f"{name} waits for {needed}"
            assert wait["condition"] != "service_healthy" or "healthcheck" in services[needed]
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in compose["volumes"], f"{name} mounts {mount}"


def test_every_lasting_service_has_a_health_check(compose: dict[str, Any]) -> None:
    """All but the one-shot that creates the topics say whether they are well."""
    with_check = {name for name, service in compose["services"].items() if "healthcheck" in service}
    assert with_check == {"kafka", "redis", "worker", "train"}
    assert compose["services"]["topics"]["restart"] == "on-failure"
    for name in ("worker", "train"):
        assert compose["services"][name]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_nothing_is_forgotten(compose: dict[str, Any]) -> None:
    """Redis writes every change down and evicts nothing; Kafka stamps records itself; all keep what they have."""
    redis, kafka = compose["services"]["redis"], compose["services"]["kafka"]
    assert redis["image"].startswith("redis:7") and kafka["image"] == "apache/kafka:4.1.0"
    options = redis["command"]
    assert options[options.index("--appendonly") + 1] == "yes"
    assert options[options.index("--maxmemory-policy") + 1] == "noeviction"
    assert kafka["environment"]["KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE"] == "LogAppendTime"
    assert kafka["environment"]["KAFKA_LOG_DIRS"] == kafka["volumes"][0].split(":")[1]
    assert redis["volumes"] == ["redis:/data"]


def test_listens_on_this_machine_only_and_has_no_default_secret(compose: dict[str, Any]) -> None:
    """Published ports are bound to the loopback interface, and the hash key must be given."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    for name in ("topics", "worker", "train"):
        assert compose["services"][name]["environment"]["MICRO_INTENTS_HASH_KEY"].startswith(
            "${MICRO_INTENTS_HASH_KEY:?"
        )


def test_settings_are_settings(compose: dict[str, Any]) -> None:
    """Every variable that is set for the program is one that it knows, with a value that it takes."""
    known = {PREFIX + item.name.upper() for item in fields(Settings)}
    for name in ("topics", "worker", "train"):
        environment = compose["services"][name]["environment"]
        assert environment.keys() <= known
        settings = Settings.load(environment | {"MICRO_INTENTS_HASH_KEY": "secret"})
        assert settings.broker == "kafka:29092" and settings.redis_url == "redis://redis:6379/0"


def test_commands_are_commands(compose: dict[str, Any]) -> None:
    """What the containers run are commands of the program."""
    services = compose["services"]
    for command in [services[name]["command"] for name in ("topics", "worker", "train")]:
        start = [sys.executable, "-c", "from streams.cli import main; main()", *command, "--help"]
        done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize("name", ["worker", "train"])
def test_they_are_asked_whether_they_are_ready(name: str, compose: dict[str, Any]) -> None:
    """The health check of each asks the address that the settings open, fails on 503, and passes on 200."""
    service = compose["services"][name]
    settings = Settings.load({**service["environment"], "MICRO_INTENTS_HASH_KEY": "secret"})
    assert settings.http_address == ("0.0.0.0", 9464)
    asked, interpreter, option, program = service["healthcheck"]["test"]
    assert (asked, interpreter, option) == ("CMD", "python", "-c")
    assert "http://127.0.0.1:9464/readyz" in program
    troubles = [Trouble("redis", "away")]
    port = free_port()
    endpoints = Endpoints(("127.0.0.1", port), CollectorRegistry(), list, lambda: troubles)
    endpoints.start()
    codes = []
    for _ in range(2):
        ask = [sys.executable, option, program.replace("9464", str(port))]
        codes.append(subprocess.run(ask, capture_output=True, check=False).returncode)
        troubles.clear()
    endpoints.stop()
    assert codes == [1, 0]


def test_worker_and_trainer_share_the_model_store(compose: dict[str, Any]) -> None:
    """What the trainer writes is where the worker looks: one volume, one URL, and the image's user may write there."""
    for name in ("worker", "train"):
        service = compose["services"][name]
        assert service["environment"]["MICRO_INTENTS_MODEL_STORE"] == "file:///models"
        assert "models:/models" in service["volumes"]
    assert re.search(r"install -d -o micro -g micro /models", (ROOT / "Dockerfile").read_text())


def test_image_has_two_stages_and_no_root() -> None:
    """The image carries no build tools and runs as a user of its own."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    users = [line.split()[1] for line in lines[last:] if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")


def test_image_gets_the_packages_and_nothing_private() -> None:
    """What the build copies is a list of names, so that no environment, recording or secret gets in by itself."""
    rules = (ROOT / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    wanted = {rule[1:] for rule in rules if rule.startswith("!")}
    assert wanted >= {"streams", "sinks", "intents", "features", "pyproject.toml", "constraints.txt", "README.md"}
    assert all((ROOT / name).exists() for name in wanted)
