"""A real Redis that speaks TLS only, with the ACL users of docs/security-redis.md."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from streams.children import Program, ServiceFailed, free_port
from streams.embedded import redis_server
from tests.certificates import Authority
from tests.conftest import missing

DOCUMENT = Path(__file__).parents[2] / "docs" / "security-redis.md"
PASSWORD = "p@ss:w/rd"
QUOTED = "p%40ss%3Aw%2Frd"


def documented(*places: str) -> str:
    """The ACL file of the document, for these namespaces and topics (`namespace:topic`)."""
    found = re.search(r"<!-- acl -->\n```\n(.*)```\n<!-- /acl -->", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    keys = "~mi:{default:clickstream:*}:v1:*"
    assert found[1].count(keys) == 2
    ours = " ".join(keys.replace("default:clickstream", place) for place in places)
    return found[1].replace(keys, ours).replace(">PASSWORD", f">{PASSWORD}")


@dataclass
class Secured:
    """A Redis that speaks TLS only, with the documented users, and one more for the tests."""

    port: int
    authority: Authority
    admin: "redis.Redis"

    def url(self, user: str, options: str = "", host: str = "127.0.0.1", password: str = QUOTED) -> str:
        """The address for a user, with the authority unless other options are given."""
        return f"rediss://{user}:{password}@{host}:{self.port}/0?{options or f'ssl_ca_certs={self.authority.ca}'}"

    def with_client_certificate(self) -> str:
        """The options of somebody who has a certificate."""
        who = self.authority.issue("client")
        return f"ssl_ca_certs={self.authority.ca}&ssl_certfile={who.cert}&ssl_keyfile={who.key}"


def start_secured(directory: Path, *places: str, client_certificates: bool = False) -> Iterator[Secured]:
    """A Redis with TLS and users for these places (`namespace:topic`); skips where its redis-server has none."""
    try:
        authority = Authority(directory / "tls")
        server = authority.issue("redis", "IP:127.0.0.1")
    except ServiceFailed as failed:
        missing(str(failed))
    home, port = Path(tempfile.mkdtemp(prefix="micro-intents-redis-")), free_port()
    (home / "users.acl").write_text(f"{documented(*places)}user admin on >{PASSWORD} ~* &* +@all\n")
    command = [redis_server(), "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(port), "--save", ""]
    command += ["--tls-cert-file", str(server.cert), "--tls-key-file", str(server.key)]
    command += ["--tls-ca-cert-file", str(authority.ca), "--aclfile", str(home / "users.acl")]
    command += ["--tls-auth-clients", "yes" if client_certificates else "no", "--maxmemory-policy", "noeviction"]
    who = authority.issue("admin")
    admin = redis.Redis(
        port=port,
        host="127.0.0.1",
        username="admin",
        password=PASSWORD,
        ssl=True,
        ssl_ca_certs=str(authority.ca),
        ssl_certfile=str(who.cert),
        ssl_keyfile=str(who.key),
    )

    def answers() -> bool:
        try:
            return bool(admin.ping())
        except (redis.ConnectionError, OSError):
            return False

    program = Program(command, home, answers)
    try:
        program.start()
    except ServiceFailed as failed:
        program.stop()
        missing(f"no redis-server with TLS: {failed}")
    try:
        yield Secured(port, authority, admin)
    finally:
        admin.close()
        program.stop()
