"""A relay to a Redis that cuts or mutes a client's connection around the commit script, as networks do."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

MARK = b"EVALSHA"


class Fault(StrEnum):
    """Where a connection fails when it next sends a script."""

    BEFORE = "before"  # cut before the server sees anything
    HALF = "half"  # cut when the server has half of the request
    AFTER = "after"  # cut when the server has answered; the answer is lost
    MUTE = "mute"  # never answer, but stay connected


async def _no_one() -> None:
    """Nothing happens between a cut and the repetition."""


class CuttingProxy:
    """Relays to the Redis at `url`; each script sent uses up one of `faults`.

    `lost` are the answers not handed on; `loss` is set with the first. `in_between` runs when a connection has failed,
    before the client can notice.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._relays: set[asyncio.Task[None]] = set()
        self.faults: list[Fault] = []
        self.lost: list[bytes] = []
        self.in_between: Callable[[], Awaitable[object]] = _no_one
        self.loss = asyncio.Event()
        self.url = url

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        login = self._target.netloc.rpartition("@")
        self.url = self._target._replace(netloc=f"{login[0]}{login[1]}{host}:{port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        server, to_server = await asyncio.open_connection(self._target.hostname, self._target.port or 6379)
        fate: list[Fault] = []
        pumps = [
            asyncio.ensure_future(self._requests(client, to_server, fate)),
            asyncio.ensure_future(self._answers(server, to_client, fate)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if fate:
                await self.in_between()
        finally:
            for pump in pumps:
                pump.cancel()
            to_server.transport.abort()
            to_client.transport.abort()
            self._relays.discard(relay)

    async def _requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, fate: list[Fault]) -> None:
        while request := await client.read(65_536):
            if MARK in request and self.faults:
                fate.append(self.faults.pop(0))
            if Fault.BEFORE in fate:
                return
            to_server.write(request[: len(request) // 2] if Fault.HALF in fate else request)
            await to_server.drain()
            if Fault.HALF in fate:
                return

    async def _answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, fate: list[Fault]) -> None:
        while answer := await server.read(65_536):
            if fate:
                self.lost.append(answer)
                self.loss.set()
            else:
                to_client.write(answer)
            if Fault.AFTER in fate:
                return
