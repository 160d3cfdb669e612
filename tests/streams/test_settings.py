"""Settings: the environment over a file over defaults, each mistake named with where it came from."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from intents.catalog import CatalogueError
from intents.life import Rules
from intents.targets import Target
from streams.engine import Topics
from streams.settings import FILE_VARIABLE, PREFIX, Settings, SettingsError


def _file(directory: Path, text: str) -> dict[str, str]:
    path = directory / "settings.toml"
    path.write_text(text)
    return {FILE_VARIABLE: str(path)}


def test_defaults_need_nothing() -> None:
    """An empty environment gives the defaults, which are valid."""
    assert Settings.load({}) == Settings()


def test_there_are_few_and_all_are_explained() -> None:
    """No more than 21 settings, each with a default and a line of help."""
    assert len(fields(Settings)) <= 21
    assert [item.name for item in fields(Settings) if not item.metadata.get("help")] == []


@pytest.mark.parametrize("name", [item.name for item in fields(Settings)])
def test_each_can_be_set_by_the_environment(name: str) -> None:
    """MICRO_INTENTS_NAME sets the setting of that name, with its type."""
    default = getattr(Settings(), name)
    text = {"partitioner": "crc32", "threshold": "0.25", "http": "localhost:17"}.get(
        name, "17" if not isinstance(default, str) else "other"
    )
    loaded = getattr(Settings.load({PREFIX + name.upper(): text}), name)
    assert loaded != default
    assert loaded == type(default)(text)


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Of two values for one setting the environment's counts; what neither has keeps its default."""
    variables = _file(tmp_path, 'broker = "file:9092"\nnamespace = "file"\nthreshold = 0.3\n')
    settings = Settings.load(variables | {"MICRO_INTENTS_BROKER": "environment:9092"})
    assert (settings.broker, settings.namespace, settings.threshold) == ("environment:9092", "file", 0.3)
    assert settings.group == Settings().group


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt setting in the file stops, named with the file and what is known."""
    with pytest.raises(SettingsError, match=r"settings\.toml: no setting 'brokr'; known are broker, redis_url"):
        Settings.load(_file(tmp_path, 'brokr = "x:1"'))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "THRESHOLD",
            "high",
            "MICRO_INTENTS_THRESHOLD is 'high'; it must be a probability (0.15), or precision=0.25",
        ),
        ("THRESHOLD", "precision=25", "MICRO_INTENTS_THRESHOLD is 'precision=25'; it must be a probability (0.15), or"),
        ("THRESHOLD", "alarms=0", "or precision=0.25 (a share), alarms=2 (per active customer and day)"),
        ("THRESHOLD", "f1", "MICRO_INTENTS_THRESHOLD is 'f1'; it must be a probability (0.15), or precision=0.25"),
        ("THRESHOLD", "1.0", "threshold is 1.0; it must lie between 0 and 1"),
        ("THRESHOLD", "nan", "threshold is nan"),
        ("HORIZON_S", "30 min", "MICRO_INTENTS_HORIZON_S is '30 min'; it must be a int"),
        ("HORIZON_S", "0", "horizon_s is 0; it must be more than 0"),
        ("SNAPSHOT_S", "-1", "snapshot_s is -1"),
        ("REBUILD_DAYS", "0", "rebuild_days is 0; it must be 1 to 365"),
        ("REBUILD_DAYS", "366", "rebuild_days is 366; it must be 1 to 365"),
        ("REBUILD_DAYS", "1.5", "MICRO_INTENTS_REBUILD_DAYS is '1.5'; it must be a int"),
        ("DEAD_LETTERS_PER_MINUTE", "0", "dead_letters_per_minute is 0"),
        ("REDIS_URL", "redis://r?socket_timeout=0", "redis_url: its socket_timeout must be"),
        ("REDIS_URL", "redis://r?socket_timeout=long", "redis_url: its socket_timeout must be"),
        ("HTTP", "9464", "http is '9464'; it must be host:port"),
        ("HTTP", ":9464", "http is ':9464'"),
        ("HTTP", "localhost:0", "http is 'localhost:0'"),
        ("HTTP", "localhost:http", "http is 'localhost:http'"),
        ("HTTP", "localhost:70000", "http is 'localhost:70000'"),
        ("LATENESS_S", "-1", "lateness_s is -1; it must not be negative"),
        ("IDLE_S", "-5", "idle_s is -5"),
        ("PARTITIONER", "random", "partitioner is 'random'; known are murmur2, crc32"),
        ("HASH_KEY", "", "hash_key must have 1 to 64 bytes"),
        ("HASH_KEY", "k" * 65, "hash_key must have 1 to 64 bytes"),
    ],
)
def test_a_bad_value_is_refused(variable: str, value: str, said: str) -> None:
    """A value of the wrong type or out of bounds stops, and says which and what is allowed."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings.load({PREFIX + variable: value})


@pytest.mark.parametrize(
    ("text", "said"), [("broker =", "settings.toml"), ("threshold = []", "settings.toml: threshold")]
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A file that is no TOML, or has a value of the wrong type, stops and is named."""
    with pytest.raises(SettingsError, match=said):
        Settings.load(_file(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is named but not there stops, with the variable that names it."""
    with pytest.raises(SettingsError, match=rf"gone\.toml: cannot be read .*{FILE_VARIABLE}"):
        Settings.load({FILE_VARIABLE: str(tmp_path / "gone.toml")})


def test_rules_and_topics_follow() -> None:
    """What the engine is made of comes from the settings: threshold, horizon, cool-down, names of topics."""
    settings = Settings(threshold=0.3, horizon_s=600, intents="i", examples="e", dead_letter="d")
    assert settings.rules == Rules(0.3, horizon_ms=600_000, cooldown_ms=600_000)
    assert settings.topics == Topics("i", "e", "d")


def test_a_threshold_may_be_a_target(tmp_path: Path) -> None:
    """What alarms shall be, from the environment or the file; what judges a fixed threshold takes the default then."""
    for text in ("precision=0.25", "alarms=2"):
        target = Target.parse(text)
        for variables in ({"MICRO_INTENTS_THRESHOLD": text}, _file(tmp_path, f'threshold = "{text}"')):
            settings = Settings.load(variables)
            assert settings.threshold == settings.rules.threshold == target
            assert (settings.fixed_threshold, settings.shown()["threshold"]) == (0.15, text)
    assert Settings.load({"MICRO_INTENTS_THRESHOLD": "0.3"}).fixed_threshold == 0.3


def test_the_catalogue_is_read(tmp_path: Path) -> None:
    """The catalogue is the file that is set, checked; without one it is empty."""
    assert Settings().load_catalogue().rules == ()
    path = tmp_path / "shop.toml"
    path.write_text('[intent.ice]\ncategory = ["ice*"]\n')
    assert [rule.intent for rule in Settings(catalogue=str(path)).load_catalogue().rules] == ["ice"]
    path.write_text("[intent.ice]\n")
    with pytest.raises(CatalogueError, match=r"shop\.toml:1: "):
        Settings(catalogue=str(path)).load_catalogue()


def test_secrets_are_not_shown() -> None:
    """Neither the hash key nor a password in an address is among the settings as shown; everything else is."""
    settings = Settings(
        hash_key="geheim", redis_url="redis://user:geheim@redis:6379/1", model_store="s3://bucket/models"
    )
    shown = settings.shown()
    assert "geheim" not in str(shown)
    assert shown["redis_url"] == "redis://…@redis:6379/1"
    assert shown["model_store"] == "s3://bucket/models"
    assert shown.keys() == {item.name for item in fields(Settings)}
    assert "geheim" not in repr(settings)


def test_the_secrets_are_known(tmp_path: Path) -> None:
    """Passwords in addresses and in the broker's file, and a hash key of one's own, are to be hidden in all output."""
    file = tmp_path / "password"
    file.write_text("p2\n")
    settings = Settings(
        broker=f"sasl_ssl://u@h:1?password_file={file}",
        redis_url="redis://:p3@h",
        model_store="s3://k:p4@b",
        hash_key="p5",
    )
    assert sorted(filter(None, settings.secrets)) == ["p2", "p3", "p4", "p5"]
    assert not any(Settings().secrets)
    assert Settings(broker="sasl_ssl://u:p6@h").secrets == ["p6"]  # an address that is of no use


@pytest.mark.parametrize("url", ["redis://:ge/heim@h:1", "redis://:ge?heim@h", "redis://:ge#heim@h", "redis://[h"])
def test_a_url_that_would_be_misread_is_refused(url: str) -> None:
    """A library would take a part of the password for a port, and print it."""
    with pytest.raises(SettingsError, match="redis_url is no URL that can be read: percent-encode") as refused:
        Settings.load({PREFIX + "REDIS_URL": url})
    assert "ge" not in str(refused.value).replace("percent-encode", "")


def test_the_address_of_the_endpoints() -> None:
    """Empty means none; else host and port, of IPv6 in brackets."""
    assert Settings().http_address is None
    assert Settings(http="127.0.0.1:9464").http_address == ("127.0.0.1", 9464)
    assert Settings(http="[::1]:80").http_address == ("::1", 80)


def test_the_longest_wait_for_redis_is_in_its_url() -> None:
    """`socket_timeout` of the URL bounds a call; without it 5 seconds do."""
    assert Settings().redis_timeout_s == 5.0
    assert Settings(redis_url="rediss://u:p@r:1/0?socket_timeout=1.5").redis_timeout_s == 1.5
