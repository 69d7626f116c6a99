"""Keeps a model on a device and answers what it is asked by Redis, until it is told to stop, has
made room for jobs that wait, or nobody has asked for long."""

import time
from dataclasses import asdict
from functools import partial

from redis.exceptions import RedisError

from core.errors import JobFailure
from core.serving.connection import connect
from core.serving.exchange import Exchange
from core.settings import get_settings
from workers.context import Stopped
from workers.ml.answering import load_model, tell_fewer
from workers.ml.engine import Engine
from workers.ml.shelf import Shelf
from workers.serving.adapters import Adapters
from workers.serving.prompts import Prompts
from workers.serving.server import Server
from workers.serving.talks import Done, Talks

IDLE, YIELD = "idle", "yield"
REPORT_SECONDS = 1.0
ROW_SECONDS = 60.0
"""How often it is written down for good what it has done: deaths that lie far apart are not held
against a server that works in between."""
STOPPING = "The server is being stopped; ask again, another one will answer."


def run(ctx) -> dict[str, int]:
    """Returns what it has done, once nobody has asked for `max_idle_seconds`."""
    loaded = load_model(
        ctx.inputs,
        quantization=ctx.params["quantization"],
        precision=ctx.params["precision"],
        device=ctx.device,
    )
    ctx.check()
    engine = Engine(loaded, on_shrink=partial(tell_fewer, ctx.event))
    shelf = Shelf(engine, most=ctx.params["max_adapters"])
    adapters = Adapters(shelf, ctx.workdir / "adapters")
    exchange = Exchange(connect(), server=ctx.params["address"])
    server = Server(
        exchange,
        engine=engine,
        prompts=Prompts(loaded.tokenizer, ctx.inputs["model"]),
        adapters=adapters,
        talks=Talks(loaded.tokenizer, before(ctx)),
    )
    try:
        open_to_clients(exchange)
        ctx.event("The server takes requests.", quantization=loaded.quantization)
        reason = serve(ctx, server)
    finally:
        exchange.close()
        adapters.close()
    if reason != IDLE:
        raise Stopped(reason)
    return asdict(server.talks.done)


def before(ctx) -> Done:
    """What earlier attempts have done."""
    return next((Done(**row) for _, row in ctx.previous_rows()), Done())


def open_to_clients(exchange: Exchange) -> None:
    try:
        exchange.open()
    except RedisError as error:
        message = f"Redis, which carries requests, does not answer: {error}."
        raise JobFailure("infra", message) from error


def serve(ctx, server: Server) -> str:
    """Answer until there is a reason to stop, and then what was taken, as long as half of the grace
    lasts; what was not taken is left to the next server. Returns the reason."""
    report, asked_last = Report(ctx), time.monotonic()
    while (reason := reason_to_stop(ctx, time.monotonic() - asked_last)) is None:
        server.turn()
        if server.taken:
            asked_last = time.monotonic()
        report.now(server)
    server.exchange.leave()
    deadline = time.monotonic() + get_settings().stop_grace_seconds / 2
    while server.taken and time.monotonic() < deadline:
        server.turn(taking=False)
    server.give_up(STOPPING)
    report.at_the_end(server)
    return reason


def reason_to_stop(ctx, idle_seconds: float) -> str | None:
    """A wish, the yield policy, or that nobody has asked for so long."""
    if ctx.stop_requested() is not None:
        return ctx.stop_requested()
    params = ctx.params
    patience = {"always": 0.0, "idle": params["idle_seconds"], "never": float("inf")}
    if ctx.others_wait and idle_seconds >= patience[params["yield_policy"]]:
        return YIELD
    most = params["max_idle_seconds"]
    return IDLE if most is not None and idle_seconds >= most else None


class Report:
    """What is said of a server while it works: at most once a second, and only what is new."""

    def __init__(self, ctx) -> None:
        self._ctx = ctx
        self._said: tuple[int, int] = (0, 0)
        self._said_at = self._written_at = float("-inf")

    def now(self, server: Server) -> None:
        now = time.monotonic()
        if self._state(server) == self._said or now - self._said_at < REPORT_SECONDS:
            return
        self._say(server)
        if now - self._written_at > ROW_SECONDS:
            self._write(server)

    def at_the_end(self, server: Server) -> None:
        self._say(server)
        self._write(server)

    def _state(self, server: Server) -> tuple[int, int]:
        """Requests that are over, of those that were taken."""
        over = server.talks.done.requests + server.talks.done.failed
        return over, over + server.taken

    def _say(self, server: Server) -> None:
        self._said, self._said_at = self._state(server), time.monotonic()
        self._ctx.progress(*self._said, **asdict(server.talks.done))

    def _write(self, server: Server) -> None:
        """A row says that an attempt has brought something."""
        if server.talks.done != Done():
            self._written_at = time.monotonic()
            self._ctx.row(0, asdict(server.talks.done))
