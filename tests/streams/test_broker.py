"""Finding a broker: told apart from everything else that may be at an address, within moments."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

from streams.broker import BrokerFailed, find_broker, said
from streams.children import free_port
from tests.services import Service


@pytest.fixture
def babbler() -> Iterator[str]:
    """Something that answers, but does not speak Kafka's protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_real_broker(kafka: Service) -> None:
    """A real Kafka creates topics, and needs no version told."""
    broker = find_broker(kafka.bootstrap)
    assert broker.creates_topics
    assert "api_version" not in broker.client_options()
    with broker.admin() as admin:
        assert admin.describe_cluster()["brokers"]


def test_the_embedded_broker(embedded_broker: str) -> None:
    """The mock cluster is recognised, and kafka-python's clients get the version with which they work there."""
    broker = find_broker(embedded_broker)
    assert not broker.creates_topics
    assert broker.client_options()["api_version"] == (2, 3)
    with broker.admin() as admin, broker.consumer() as consumer:
        assert admin.describe_topics(["nobody-has-made-this"])[0]["error_code"]
        assert "nobody-has-made-this" not in consumer.topics()


def test_the_first_that_answers(embedded_broker: str) -> None:
    """Of several addresses one that answers is enough."""
    both = f"127.0.0.1:{free_port()},{embedded_broker}"
    assert find_broker(both).client_options()["bootstrap_servers"] == both.split(",")


def test_nobody_there() -> None:
    """Where nothing listens, that is said at once, with what to do."""
    began = time.monotonic()
    with pytest.raises(BrokerFailed, match=r"nothing listens there\. Start Kafka .* or name yours with --broker"):
        find_broker(f"127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 2


def test_somebody_else_there(babbler: str) -> None:
    """A server that is no Kafka is not waited for."""
    with pytest.raises(BrokerFailed, match="is no Kafka broker"):
        find_broker(babbler)


def test_silence_there() -> None:
    """A server that says nothing is given up after the time given."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(BrokerFailed, match="no answer in time"):
        find_broker(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=0.2)


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":9092", "localhost:kafka", ""])
def test_no_address(address: str) -> None:
    """What is not host:port is called that."""
    with pytest.raises(BrokerFailed, match="is not host:port"):
        find_broker(address)


def test_a_time_out_suspects_the_advertised_address(embedded_broker: str) -> None:
    """A broker that answered once and then not makes one think of advertised.listeners."""
    with pytest.raises(BrokerFailed, match=r"advertised\.listeners"), find_broker(embedded_broker).errors():
        raise KafkaTimeoutError("no answer")


def test_what_a_broker_said() -> None:
    """Of a refusal, the broker's own message is left; of others, their text."""
    answer = """Y(name='a', error_message="Topic 'a' exists.", z=0)"""
    long = f"Request 'X(topics=[error_message=None])' failed with response '{answer}'"
    assert said(TopicAlreadyExistsError(long)) == "Topic 'a' exists."
    assert said(KafkaError("boom")) == "KafkaError: boom"
