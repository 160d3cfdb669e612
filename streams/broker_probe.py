"""One question to one broker, over a connection as the clients will make it: what it can do, and whether we may in.

ApiVersions version 0, which every broker answers, also before anybody has signed in; then, where the address has a
user, SASL's exchange. Clients would take minutes to fail and hide why.
"""

import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Final

from kafka.net.sasl import get_sasl_mechanism

from streams.broker_address import BrokerAddress, BrokerRefused

_CLIENT: Final = b"micro-intents"
_API_VERSIONS: Final = 18
_SASL_HANDSHAKE: Final = 17
_SASL_AUTHENTICATE: Final = 36
_UNKNOWN_MECHANISM: Final = 33
_NOT_FOR_SASL: Final = 34
_MOST_BYTES: Final = 1 << 20
_TLS_ALERT: Final = b"\x15\x03"
_SAID_AT_MOST: Final = 200
_NO_KAFKA: Final = "what answers is no Kafka broker"


class NotKafka(Exception):
    """What answers does not speak Kafka's protocol as it should, or has stopped; says so in words."""


def ask_for_apis(host: str, port: int, address: BrokerAddress, timeout_s: float) -> dict[int, int]:
    """The requests that a broker knows, each with its highest version, after signing in as the address says.

    Raises NotKafka or OSError if it does not answer, BrokerRefused if it does not let us in, all with what to do.
    """
    context = address.tls()
    with socket.create_connection((host, port), timeout=timeout_s) as plain:
        connection = plain
        if context is not None:
            connection = _encrypted(plain, context, host, address)
        with connection:
            try:
                return _Talk(connection).introduce(address)
            except ssl.SSLError as error:  # from TLS 1.3 on, a client certificate is judged after the handshake
                raise _not_encrypted(error, host, address) from error


def _encrypted(plain: socket.socket, context: ssl.SSLContext, host: str, address: BrokerAddress) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except TimeoutError:
        raise
    except OSError as error:
        raise _not_encrypted(error, host, address) from error


def _not_encrypted(error: OSError, host: str, address: BrokerAddress) -> BrokerRefused | NotKafka:
    text = str(error).lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        if "mismatch" in said:
            said = f"its certificate is not for {host}: use a name that it has, or give it one with {host}"
        elif "expired" in said or "not yet valid" in said:
            said = f"its certificate is not valid now ({said}): renew it, or correct the clock"
        else:
            said = f"its certificate is not trusted here ({said}): name the authority that signed it, ?ca=/path/ca.pem"
        return BrokerRefused(said)
    if "alert" in text and ("certificate" in text or "unknown ca" in text):
        theirs = "does not accept this client's" if address.cert else "wants a client"
        return BrokerRefused(f"it {theirs} certificate: ?cert=/path/cert.pem&key=/path/key.pem of one that it trusts")
    other = "sasl_plaintext://" if address.signs_in else "host:port without ssl://"
    return NotKafka(f"that port does not speak TLS: correct the port, or use {other} ({_short(error)})")


@dataclass(slots=True)
class _Talk:
    """Requests and answers, one after the other, on an open connection."""

    connection: socket.socket

    def introduce(self, address: BrokerAddress) -> dict[int, int]:
        """Ask what the broker can do, then sign in if the address says so."""
        apis = self._apis()
        if address.signs_in:
            self._sign_in(address)
        elif _SASL_AUTHENTICATE in apis:  # the embedded broker lets nobody sign in
            error, mechanisms = self._handshake("PLAIN")
            if error in (0, _UNKNOWN_MECHANISM):
                scheme = "sasl_ssl" if address.encrypted else "sasl_plaintext"
                raise BrokerRefused(
                    f"it wants a user and a password ({', '.join(mechanisms)}): {scheme}://user:password@host:port"
                )
        return apis

    def _apis(self) -> dict[int, int]:
        answer = self._ask(_API_VERSIONS, 0, b"")
        error, count = struct.unpack_from(">hi", answer)
        if error:
            raise NotKafka(f"{_NO_KAFKA} (error {error} instead of the list of its requests)")
        entries = (struct.unpack_from(">hhh", answer, 6 + 6 * place) for place in range(count))
        return {key: highest for key, _, highest in entries}

    def _handshake(self, mechanism: str) -> tuple[int, list[str]]:
        answer = self._ask(_SASL_HANDSHAKE, 1, struct.pack(">h", len(mechanism)) + mechanism.encode())
        error, count = struct.unpack_from(">hi", answer)
        mechanisms, at = [], 6
        for _ in range(count):
            (length,) = struct.unpack_from(">h", answer, at)
            mechanisms.append(answer[at + 2 : at + 2 + length].decode())
            at += 2 + length
        return error, mechanisms

    def _sign_in(self, address: BrokerAddress) -> None:
        error, mechanisms = self._handshake(address.mechanism)
        if error == _NOT_FOR_SASL:
            other = "ssl://host:port" if address.encrypted else "host:port"
            raise BrokerRefused(f"nobody signs in at that port: use {other}, or the port that is for users")
        if error == _UNKNOWN_MECHANISM:
            raise BrokerRefused(f"it does not offer {address.mechanism}: use ?mechanism={' or '.join(mechanisms)}")
        if error:
            raise NotKafka(f"{_NO_KAFKA} (error {error} instead of its mechanisms)")
        steps = get_sasl_mechanism(address.mechanism)(
            sasl_plain_username=address.user, sasl_plain_password=address.password, sasl_mechanism=address.mechanism
        )
        while not steps.is_done():
            token = steps.auth_bytes()
            answer = self._ask(_SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
            error, length = struct.unpack_from(">hh", answer)
            if error:
                said = answer[4 : 4 + max(length, 0)].decode(errors="replace")[:_SAID_AT_MOST]
                raise BrokerRefused(f"it does not let the user {address.user!r} in: correct user or password ({said})")
            at = 4 + max(length, 0)
            try:
                steps.receive(answer[at + 4 :])
            except (ValueError, KeyError) as wrong:  # a broker that does not know the password cannot sign
                raise BrokerRefused(
                    f"it could not prove that it knows {address.user!r}: is it the right one?"
                ) from wrong

    def _ask(self, key: int, version: int, body: bytes) -> bytes:
        head = struct.pack(">hhih", key, version, 1, len(_CLIENT)) + _CLIENT
        self.connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        first = self._exactly(4)
        if first.startswith(_TLS_ALERT):
            raise BrokerRefused("that port speaks TLS only: use ssl://host:port, or sasl_ssl://user:password@host:port")
        (size,) = struct.unpack(">i", first)
        if not 10 <= size <= _MOST_BYTES:
            raise NotKafka(f"{_NO_KAFKA} (no answer of its protocol)")
        return self._exactly(size)[4:]

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.connection.recv(size - len(found))
            if not part:
                raise NotKafka(f"{_NO_KAFKA} (the connection was closed)")
            found += part
        return found


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_SAID_AT_MOST]
