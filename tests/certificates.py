"""Certificates for the tests, made by openssl: an authority, and who it vouches for."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from streams.children import ServiceFailed

SERVER_NAMES = "IP:127.0.0.1"


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, both PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority in a directory; `ca` is its certificate (PEM)."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        if not shutil.which("openssl"):
            raise ServiceFailed("certificates for the tests need openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        self._openssl(
            *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_new_key(self._key)),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", str(self.ca)),
        )

    def issue(self, name: str, names: str = SERVER_NAMES) -> Identity:
        """A certificate for `name` that is good for the hosts `names` (as openssl's subjectAltName)."""
        found = Identity(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        self._openssl(
            *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_new_key(found.key)),
            *("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", str(self.ca), "-CAkey", str(self._key), "-out", str(found.cert)),
        )
        return found

    def locked(self, identity: Identity, password: str) -> Path:
        """The identity's key, encrypted with a password."""
        path = identity.key.with_suffix(".locked")
        self._openssl("rsa", "-aes256", "-passout", f"pass:{password}", "-in", str(identity.key), "-out", str(path))
        return path

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"openssl {arguments[0]}: {done.stderr[-1000:]}")


def _new_key(path: Path) -> tuple[str, ...]:
    return ("-newkey", "rsa:2048", "-keyout", str(path))
