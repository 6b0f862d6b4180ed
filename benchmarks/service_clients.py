"""Clients of a service, all in one process: some poll, some submit sweeps, some listen."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

#: what clients who poll ask for, of the sweep that trains
POLLED = ("sweeps/long", "sweeps/long/trials", "queue", "sweeps")
#: seconds in which clients come or go
SETTLING_S = 3.0


@dataclass
class Load:
    """What clients have found."""

    reads_s: list[float] = field(default_factory=list)
    submits_s: list[float] = field(default_factory=list)
    events: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Clients:
    """How many clients there are, and what they do."""

    url: str
    pollers: int
    submitters: int
    listeners: int
    #: seconds between two questions of one who polls
    every_s: float
    #: seconds between two sweeps of one who submits
    submit_every_s: float
    #: what is submitted, and numbers for the names
    sweep: Mapping[str, Any]
    numbers: Iterable[int]

    async def run(self, seconds: float, load: Load) -> None:
        """Let all clients do what they do for so long."""
        connector = aiohttp.TCPConnector(limit=0)
        until = time.monotonic() + seconds
        async with aiohttp.ClientSession(connector=connector) as session:
            tasks = [
                *(self._poll(session, until, load) for _ in range(self.pollers)),
                *(self._submit(session, until, load) for _ in range(self.submitters)),
                *(self._listen(session, until, load) for _ in range(self.listeners)),
            ]
            await asyncio.gather(*tasks)

    async def _ask(
        self, session: aiohttp.ClientSession, times: list[float], load: Load, path: str, **more: Any
    ) -> None:
        began = time.monotonic()
        method = "POST" if more else "GET"
        try:
            async with session.request(method, f"{self.url}/api/v1/{path}", **more) as answer:
                text = await answer.text()
                if answer.status >= 300:
                    load.errors.append(f"{path}: {answer.status} {text}")
        except (aiohttp.ClientError, TimeoutError) as error:
            load.errors.append(f"{path}: {error!r}")
        times.append(time.monotonic() - began)

    async def _poll(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        paths = itertools.cycle(random.sample(POLLED, len(POLLED)))
        wait_s = random.uniform(0, self.every_s)
        while await _waited(wait_s, until):
            await self._ask(session, load.reads_s, load, next(paths))
            wait_s = self.every_s

    async def _submit(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        wait_s = random.uniform(0, self.submit_every_s)
        while await _waited(wait_s, until):
            name = f"short-{next(iter(self.numbers))}"
            body = {**self.sweep, "name": name, "priority": 0}
            await self._ask(session, load.submits_s, load, "sweeps", json=body)
            wait_s = self.submit_every_s

    async def _listen(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        url = f"{self.url}/api/v1/sweeps/long/events"
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + SETTLING_S):
                answer = await session.get(url, timeout=aiohttp.ClientTimeout(total=None))
            if answer.status != 200:
                load.errors.append(f"events: {answer.status}")
            async with asyncio.timeout(max(0.1, until - time.monotonic())):
                async for line in answer.content:
                    load.events += line.startswith(b"event:")
            load.errors.append("events: the stream has ended")
        except TimeoutError:
            pass
        except aiohttp.ClientError as error:
            load.errors.append(f"events: {error!r}")


async def _waited(seconds: float, until: float) -> bool:
    """Wait; whether that was before a time of the clock, at which waiting ends."""
    left = until - time.monotonic()
    await asyncio.sleep(max(0.0, min(seconds, left)))
    return seconds < left
