"""Server-Sent Events: what a job says, as it says it. Knows neither jobs' types nor what they say.

A stream is resumed behind `Last-Event-ID`, ends with `data: [DONE]` when its job has ended, and
without it when this process is told to stop or the stream has grown old: a client that comes back
misses nothing. While it waits it holds no thread and no connection to the database.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.schemas.common import list_body
from core.db import get_database
from core.jobs.models import Job
from core.jobs.status import FINAL
from core.pages import Page, PageQuery

MEDIA_TYPE = "text/event-stream"
POLL_SECONDS = 1.0
BEAT_SECONDS = 15.0
"""A comment this often tells proxies and clients that the connection lives."""
LONGEST_SECONDS = 3600.0
"""Then the client connects again, and its key is looked at anew."""
PAGE = 200

LastEventId = Annotated[str | None, Header(description="Resume a stream behind this event.")]
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"A page; with `Accept: {MEDIA_TYPE}` a stream, oldest event first.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}

ReadPage = Callable[[Session, Job, PageQuery], Page]
ShapeOf = Callable[[Any], Any]


@dataclass(frozen=True)
class News:
    """Events that are new, as they are sent; `over`: none will follow."""

    events: list[Any]
    over: bool


def wants_stream(request: Request) -> bool:
    return MEDIA_TYPE in request.headers.get("accept", "")


def page_or_stream(
    request: Request,
    session: Session,
    job: Job,
    page: PageQuery,
    last_event_id: str | None,
    *,
    read: ReadPage,
    shape: ShapeOf,
) -> Any:
    """What `GET …/events` answers: a page, or a stream where one is asked for."""
    if not wants_stream(request):
        return list_body(read(session, job, page), shape)
    after = last_event_id or page.after
    read(session, job, PageQuery(after=after, limit=1))  # refuses a wrong `after`
    return stream_events(request, job.id, read, shape, after=after)


def stream_events(
    request: Request, job_id: str, read: ReadPage, shape: ShapeOf, *, after: str | None
) -> StreamingResponse:
    """What `read` finds behind the event `after`, and then whatever comes, until the job ends."""

    def look(after: str | None) -> News:
        with get_database().reading() as session:
            job = session.get_one(Job, job_id)
            ended = job.status in FINAL  # asked first: the last event is written with the status
            page = read(session, job, PageQuery(after=after, limit=PAGE, order="asc"))
            return News([shape(row) for row in page.rows], ended and not page.has_more)

    return StreamingResponse(
        _lines(look, after, request.app.state.closing),
        media_type=MEDIA_TYPE,
        headers={"x-accel-buffering": "no"},  # nginx would hold events back
    )


async def _lines(
    look: Callable[[str | None], News], after: str | None, closing: threading.Event
) -> AsyncIterator[str]:
    begun = beat = time.monotonic()
    while not closing.is_set() and time.monotonic() - begun < LONGEST_SECONDS:
        news = await run_in_threadpool(look, after)
        for event in news.events:
            after = event.id
            yield f"id: {event.id}\ndata: {event.model_dump_json()}\n\n"
        if news.over:
            yield "data: [DONE]\n\n"
            return
        if not news.events:
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(POLL_SECONDS)
