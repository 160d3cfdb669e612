"""Kafka's address: what each form means, and that no mistake in it is answered with a secret."""

import ssl
from pathlib import Path

import pytest

from streams.broker_address import BrokerAddress, BrokerRefused
from tests.certificates import Authority

SECRET = "geheim"


def test_plain_addresses() -> None:
    """host:port stays what it was: nothing is encrypted, nobody signs in."""
    address = BrokerAddress.parse("kafka-1:9092, [::1]:9093")
    assert address.hosts == (("kafka-1", 9092), ("::1", 9093))
    assert (address.protocol, address.signs_in, address.encrypted) == ("PLAINTEXT", False, False)
    assert address.client_options() == {"bootstrap_servers": ["kafka-1:9092", "[::1]:9093"]}
    assert BrokerAddress.parse("plaintext://kafka-1:9092, [::1]:9093") == address


def test_every_part_of_an_address() -> None:
    """User, password and paths are percent-encoded; several hosts share them."""
    text = "sasl_ssl://wor%3Aker:p%40ss%3A%2F%25@h1:1,h2:2?mechanism=SCRAM-SHA-256&ca=/ca%26.pem&cert=/c+c.pem&key=/k"
    address = BrokerAddress.parse(text)
    assert (address.user, address.password) == ("wor:ker", "p@ss:/%")
    assert (address.protocol, address.mechanism) == ("SASL_SSL", "SCRAM-SHA-256")
    assert (address.ca, address.cert, address.key) == ("/ca&.pem", "/c+c.pem", "/k")
    assert address.bootstrap == "h1:1,h2:2"


def test_the_strongest_mechanism_is_the_usual_one() -> None:
    """Without a mechanism it is SCRAM-SHA-512."""
    assert BrokerAddress.parse("sasl_plaintext://u:p@h:1").mechanism == "SCRAM-SHA-512"


def test_a_password_that_is_not_encoded_is_read_whole() -> None:
    """Whatever a password holds, the host begins behind the last @."""
    assert BrokerAddress.parse("sasl_ssl://u:a/b?c@d#e@h:1").password == "a/b?c@d#e"


def test_the_password_of_a_file(tmp_path: Path) -> None:
    """A file keeps the password out of the environment; its last line end is not part of it."""
    file = tmp_path / "password"
    file.write_text(f" {SECRET}\n")
    assert BrokerAddress.parse(f"sasl_ssl://u@h:1?password_file={file}").password == f" {SECRET}"
    with pytest.raises(BrokerRefused, match="No such file"):
        BrokerAddress.parse(f"sasl_ssl://u@h:1?password_file={file}s")
    with pytest.raises(BrokerRefused, match="a password and a password_file"):
        BrokerAddress.parse(f"sasl_ssl://u:{SECRET}@h:1?password_file={file}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"kafka://u:{SECRET}@h:1", "begin with one of"),
        (f"sasl_ssl://u:{SECRET}@h", "is not host:port"),
        (f"sasl_ssl://u:{SECRET}@h:0", "is not host:port"),
        (f"sasl_ssl://u:{SECRET}", "is not host:port"),
        (f"u:{SECRET}@h:kafka", "is not host:port"),
        (f"sasl_ssl://u:{SECRET}%@h:1", "%25"),
        ("sasl_ssl://h:1", "needs user:password@"),
        ("sasl_ssl://u@h:1", "needs user:password@"),
        (f"sasl_ssl://u:{SECRET}@h:1?mechanism=GSSAPI", "no usable mechanism"),
        (f"sasl_plaintext://u:{SECRET}@h:1?mechanism=PLAIN", "would send the password readable"),
        (f"sasl_ssl://u,v:{SECRET}@h:1", "a user with , or ="),
        (f"ssl://u:{SECRET}@h:1", "takes no user"),
        (f"plaintext://u:{SECRET}@h:1", "takes no user"),
        ("ssl://h:1?mechanism=PLAIN", "takes no user"),
        (f"sasl_plaintext://u:{SECRET}@h:1?ca=/ca.pem", "takes no certificates"),
        ("ssl://h:1?cert=/c.pem", "both cert and key"),
        (f"sasl_ssl://u:{SECRET}@h:1?verify=no", "takes"),
        (f"sasl_ssl://u:{SECRET}@h:1?ca=/a&ca=/b", "once each"),
        (f"sasl_ssl://u:{SECRET}@h:1?password={SECRET}", "takes"),
    ],
)
def test_mistakes_are_named_without_the_password(text: str, said: str) -> None:
    """Each mistake says what to correct; the password is in no message."""
    with pytest.raises(BrokerRefused, match=said) as refused:
        BrokerAddress.parse(text)
    assert SECRET not in str(refused.value)


def test_an_address_shows_no_secret() -> None:
    """Its text, which tracebacks and logs may hold, has no password."""
    assert SECRET not in repr(BrokerAddress.parse(f"sasl_ssl://u:{SECRET}@h:1"))


def test_certificates_and_names_are_always_verified(tmp_path: Path) -> None:
    """No option turns verification off; with an authority of its own no other one is trusted."""
    authority = Authority(tmp_path)
    mine = authority.issue("worker")
    text = f"ssl://h:1?ca={authority.ca}&cert={mine.cert}&key={mine.key}"
    context = BrokerAddress.parse(text).tls()
    assert context is not None
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    """A wrong file is named, and an encrypted key asks nobody at a terminal."""
    authority = Authority(tmp_path)
    mine = authority.issue("worker")
    with pytest.raises(BrokerRefused, match=r"ca=/nowhere\.pem cannot be used: No such file"):
        BrokerAddress.parse("ssl://h:1?ca=/nowhere.pem").tls()
    with pytest.raises(BrokerRefused, match=r"cert=.*, key=.* cannot be used"):
        BrokerAddress.parse(f"ssl://h:1?ca={authority.ca}&cert={mine.cert}&key={authority.ca}").tls()
    locked = authority.locked(mine, SECRET)
    with pytest.raises(BrokerRefused, match="the key is encrypted"):
        BrokerAddress.parse(f"ssl://h:1?ca={authority.ca}&cert={mine.cert}&key={locked}").tls()
