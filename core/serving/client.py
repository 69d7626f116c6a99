"""The API's side: puts a request where a server finds it, and iterates over its answer. Knows no
HTTP, no database and no model; holds no thread.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary

import redis.asyncio
from redis.exceptions import RedisError

from core.errors import InvalidInput, Unavailable
from core.ids import new_id
from core.serving import wire
from core.serving.connection import SILENT_SECONDS, connect_async
from core.serving.places import Place
from core.serving.wire import End, Event, Failed, Request, Taken, Text, Usage

log = logging.getLogger(__name__)

Ensure = Callable[[], Awaitable[None]]
Answered = Text | End | Usage
"""What an answer consists of."""

MOST_WAITING = 1000
"""Requests that may wait for one server: more could not be answered in time."""
TICK_SECONDS = 1.0
"""Where no event comes for so long, it is looked whether one may still come."""
ENSURE_SECONDS = 5.0
"""How often a request that waits for a server sees to it that one comes."""
KEEP_SECONDS = 10.0
"""How often a reader shows that it reads."""
LONGEST_SECONDS = 3600
"""Requests that nobody takes, and that nobody who asked is left to take back, go after this."""


class Client:
    """One for each event loop: `get_client`."""

    def __init__(self, connection: redis.asyncio.Redis) -> None:
        self._redis = connection
        self._ending: set[asyncio.Task] = set()

    async def is_ready(self, server: str) -> bool:
        """Whether a server of this model lives."""
        async with _redis():
            return bool(await self._redis.exists(wire.ready_key(server)))

    @asynccontextmanager
    async def ask(self, place: Place, request: Request, ensure: Ensure) -> AsyncIterator["Answer"]:
        """Hands a request over; leaving the block ends it, whatever has become of it. `ensure` is
        awaited again and again while the request waits and no server lives: it sees to it that one
        comes up, or raises what is to be raised."""
        answer = Answer(self._redis, place, ensure)
        try:
            await answer.submit(request)
            yield answer
        finally:
            # A task of its own: where the client is gone, this one is being cancelled.
            task = asyncio.create_task(answer.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._ending)
        await self._redis.aclose()


class Answer:
    """The events of one request's answer, to iterate over once."""

    def __init__(self, connection: redis.asyncio.Redis, place: Place, ensure: Ensure) -> None:
        self._redis = connection
        self._place = place
        self._ensure = ensure
        self._requests = wire.requests_key(place.server)
        self.id = new_id("ask")
        self._events = wire.events_key(self.id)
        self._entry: str | None = None
        self._read = "0"
        self._taken_by: str | None = None
        self._kept = self._asked = self._ensured = time.monotonic()

    async def submit(self, request: Request) -> None:
        text = wire.write_request(request, self._place.adapter)
        async with _redis():
            if await self._redis.xlen(self._requests) >= MOST_WAITING:
                raise Unavailable("Too many requests wait for this model.", code="overloaded")
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xadd(self._events, {"event": ""})
                pipe.expire(self._events, int(wire.READER_SECONDS))
                pipe.xadd(self._requests, {"id": self.id, "request": text})
                pipe.expire(self._requests, LONGEST_SECONDS)
                self._read, _, self._entry, _ = await pipe.execute()

    async def end(self) -> None:
        """Take the request back if it waits; a server that answers it stops."""
        with suppress(RedisError, OSError):  # else the stream goes when it was not read for a while
            async with (
                asyncio.timeout(SILENT_SECONDS),
                self._redis.pipeline(transaction=True) as pipe,
            ):
                pipe.delete(self._events)
                if self._entry is not None:
                    pipe.xdel(self._requests, self._entry)
                await pipe.execute()

    async def __aiter__(self) -> AsyncIterator[Answered]:
        while True:
            for event in await self._next():
                if isinstance(event, Taken):
                    self._taken_by = event.by
                elif isinstance(event, Failed):
                    raise _error(event)
                else:
                    yield event
                    if isinstance(event, Usage):
                        return

    async def _next(self) -> list[Event]:
        """What has come; nothing after a while in which nothing came, if something still may."""
        async with _redis():
            await self._keep()
            events = await self._receive(block=int(TICK_SECONDS * 1000))
            if events:
                return events
            problem = await self._problem()
            # What a server said last may have come between the two looks.
            if problem is not None and not (events := await self._receive(block=None)):
                raise problem
            unserved = not events and await self._is_unserved()
        if unserved:
            await self._ensure()
        return events

    async def _receive(self, *, block: int | None) -> list[Event]:
        found = await self._redis.xread({self._events: self._read}, block=block)
        entries = found[0][1] if found else []
        if entries:
            self._read = entries[-1][0]
        return [wire.read_event(fields["event"]) for _, fields in entries]

    async def _keep(self) -> None:
        """Show that somebody reads, and let go of what was read."""
        if time.monotonic() - self._kept < KEEP_SECONDS:
            return
        self._kept = time.monotonic()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.expire(self._events, int(wire.READER_SECONDS))
            pipe.xtrim(self._events, minid=self._read, approximate=True)
            await pipe.execute()

    async def _is_unserved(self) -> bool:
        """Whether it waits and no server lives; looked at every ENSURE_SECONDS."""
        now = time.monotonic()
        if self._taken_by or now - self._ensured < ENSURE_SECONDS:
            return False
        self._ensured = now
        return not await self._redis.exists(wire.ready_key(self._place.server))

    async def _problem(self) -> Unavailable | None:
        """Why nothing will come any more."""
        if self._taken_by is None:
            if time.monotonic() - self._asked < wire.WAIT_SECONDS:
                return None
            return Unavailable(
                f"No server of this model took the request within {wire.WAIT_SECONDS:.0f} s.",
                code="no_server",
            )
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(wire.alive_key(self._taken_by))
            pipe.exists(self._events)
            lives, open_ = await pipe.execute()
        if lives and open_:
            return None
        return Unavailable("The server was lost while it answered; ask again.", code="server_lost")


@asynccontextmanager
async def _redis() -> AsyncIterator[None]:
    """Redis is away where its client raises or says nothing for a while: `Unavailable`."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            yield
    except TimeoutError as error:
        raise Unavailable(
            f"Redis, which carries answers, says nothing for {SILENT_SECONDS:.0f} s."
        ) from error
    except (RedisError, OSError) as error:
        log.error("redis: %s", error)  # which names the host: not for whoever asked
        raise Unavailable("Redis, which carries answers, does not answer.") from error


def _error(event: Failed) -> InvalidInput | Unavailable:
    kind = InvalidInput if event.fault == "request" else Unavailable
    return kind(event.message, code=event.code, param=event.param)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()


def get_client() -> Client:
    """The client of the event loop that is running; `Unavailable` where no Redis is configured."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = Client(connect_async())
    return _clients[loop]
