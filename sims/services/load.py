"""Open-loop load on a local HTTP service: requests come when they come, whether or not the last one was answered."""

from __future__ import annotations

import asyncio
import collections

from phase4 import rng


class Load:
    """Requests of ever new users at a mean rate, with exponential gaps."""

    def __init__(self, port: int, *, rate: float, seed: int) -> None:
        """Aim at a port of this machine, `rate` requests a second."""
        self._port, self._rate = port, rate
        self._random = rng.stream(seed, "arrivals", replicate=0)
        self.answers: collections.Counter[int] = collections.Counter()
        """Status -> how many; 0 = no answer."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, until: asyncio.Event) -> None:
        """Send until the event is set, then wait for the last answers."""
        loop = asyncio.get_running_loop()
        due, user = loop.time(), 0
        while not until.is_set():
            due += float(self._random.exponential(1.0 / self._rate))
            await asyncio.sleep(max(due - loop.time(), 0.0))
            user += 1
            task = asyncio.create_task(self._request(f"user-{user}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    async def _request(self, user: str) -> None:
        try:
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(f"GET /checkout/{user} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
                await reader.read()
                writer.close()
            self.answers[int(line.split()[1])] += 1
        except (OSError, TimeoutError, IndexError):
            self.answers[0] += 1
