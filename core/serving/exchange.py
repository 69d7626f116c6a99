"""A server's side: takes requests, tells what is to be said of them, shows that it lives.

Knows Redis; no model, no job. What it takes is its own: taking a request out of the stream and
telling its client so is one script, which no other server and no crash comes between.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from core.ids import new_id
from core.serving import wire
from core.serving.wire import Event, Failed, Request, Taken

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
STUCK_SECONDS = 60.0
"""A server whose work has not turned for so long does not live: no step takes that long."""

# Requests in the order in which they came. Those whose client is gone are dropped.
TAKE = """
local taken = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
    redis.call('XDEL', KEYS[1], entry[1])
    local fields = {}
    for place = 1, #entry[2], 2 do fields[entry[2][place]] = entry[2][place + 1] end
    local events = ARGV[2] .. fields['id']
    if redis.call('EXISTS', events) == 1 then
        redis.call('XADD', events, '*', 'event', ARGV[3])
        taken[#taken + 1] = {fields['id'], fields['request']}
    end
end
return taken
"""


@dataclass(frozen=True)
class Asked:
    """A request that is this server's now."""

    id: str
    request: Request
    adapter: str | None


class Exchange:
    """`server`: the address of the model. While it is open, clients see that there is a server."""

    def __init__(self, connection: redis.Redis, *, server: str) -> None:
        self._redis = connection
        self._server = server
        self._requests = wire.requests_key(server)
        self._take = connection.register_script(TAKE)
        self._beat = Beat(connection)
        self._name = ""

    def open(self) -> None:
        """Under a new name: whatever was taken under the last one is answered no more, and who
        asked for it will see so."""
        self._name = new_id("server")
        self._beat.begin(wire.alive_key(self._name), wire.ready_key(self._server))

    def leave(self) -> None:
        """From now on nothing is taken; what was taken is still answered."""
        self._beat.forget(wire.ready_key(self._server))

    def close(self) -> None:
        """Nobody asks this server any more, and what it has not answered it never will."""
        self._beat.end()

    def take(self, most: int, *, patience: float = 0) -> list[Asked]:
        """Up to `most` requests; where there is none, it waits `patience` seconds for one."""
        self._beat.turned()
        found = self._find(most)
        if not found and patience and self._wait(patience):
            found = self._find(most)
        asked = [self._read(request_id, text) for request_id, text in found]
        return [one for one in asked if one is not None]

    def tell(self, said: Mapping[str, Sequence[Event]]) -> set[str]:
        """Write events by request; returns the requests whose client is gone. Of those for which
        there is nothing to say it is looked too."""
        self._beat.turned()
        if not said:
            return set()
        with self._redis.pipeline(transaction=False) as pipe:
            for request_id, events in said.items():
                key = wire.events_key(request_id)
                for event in events:
                    pipe.xadd(key, {"event": wire.write_event(event)}, nomkstream=True)
                pipe.exists(key)
            answers = iter(pipe.execute())
        gone = set()
        for request_id, events in said.items():
            for _ in events:
                next(answers)
            if not next(answers):
                gone.add(request_id)
        return gone

    def _wait(self, seconds: float) -> bool:
        """Until a request waits, which is at once where one does."""
        return bool(self._redis.xread({self._requests: "0"}, count=1, block=int(seconds * 1000)))

    def _find(self, most: int) -> list[tuple[str, str]]:
        taken = wire.write_event(Taken(by=self._name))
        return self._take(keys=[self._requests], args=[most, wire.EVENTS, taken])

    def _read(self, request_id: str, text: str) -> Asked | None:
        try:
            return Asked(request_id, *wire.read_request(text))
        except (ValueError, TypeError, KeyError) as error:  # written by another version of us
            log.warning("request %s can't be read: %s", request_id, error)
            message = "API and workers are of different versions; an operator has to upgrade both."
            self.tell({request_id: [Failed("platform", "unreadable_request", message)]})
            return None


class Beat(threading.Thread):
    """Shows every second that this process lives and works; what is shown lapses by itself."""

    def __init__(self, connection: redis.Redis) -> None:
        super().__init__(name="serving-beat", daemon=True)
        self._redis = connection
        self._keys: tuple[str, ...] = ()
        self._ended = threading.Event()
        self._turned = time.monotonic()

    def begin(self, *keys: str) -> None:
        self._keys = keys
        self._show()
        if not self.is_alive():
            self.start()

    def turned(self) -> None:
        """The work goes on: without this, it is not said that the server lives."""
        self._turned = time.monotonic()

    def run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if time.monotonic() - self._turned > STUCK_SECONDS:
                continue
            try:
                self._show()
            except (RedisError, OSError) as error:
                log.warning("Redis does not hear that this server lives: %s", error)

    def forget(self, key: str) -> None:
        self._keys = tuple(one for one in self._keys if one != key)
        self._drop(key)

    def end(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join()
        self._drop(*self._keys)

    def _show(self) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for key in self._keys:
                pipe.set(key, "1", px=int(wire.ALIVE_SECONDS * 1000))
            pipe.execute()

    def _drop(self, *keys: str) -> None:
        try:
            self._redis.delete(*keys)
        except (RedisError, OSError) as error:  # then they lapse
            log.warning("Redis does not hear that this server ends: %s", error)
