"""`Idempotency-Key`: a POST that creates is carried out once, however often it is sent.

The answer is recorded in the transaction of what was created, so a crash between commit and answer
leaves both or neither. What was refused created nothing and is not recorded.
"""

import hashlib
import re
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.deps import Writer
from api.uploads import Form
from core.errors import InvalidInput
from core.idempotency import service

KEY = re.compile(r"[\x21-\x7e]{1,255}")
Answer = TypeVar("Answer", bound=BaseModel)

_lock = threading.Lock()
_under_way: set[tuple[str, str]] = set()
"""Keys of the requests that this process works at: an upload is long before its transaction."""


class Replay(Exception):
    """The request was answered before; this is the answer."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(code)
        self.code = code
        self.body = body


class Once:
    """What an endpoint does to run once: `begin` in its transaction, `answer` at its end."""

    def __init__(self, request: Request, project_id: str, key: str | None) -> None:
        self._request = request
        self._project_id = project_id
        self._key = key
        self._sha256 = hashlib.sha256()
        self._add(request.method, request.url.path, request.url.query)

    def begin(self, session: Session, form: Form | None = None) -> None:
        """Go on, or raise: `Replay` with the recorded answer, `Conflict` if it is another's key."""
        if self._key is None:
            return
        if form is not None:
            self._add_form(form)
        known = service.begin(session, self._project_id, self._key, self._sha256.hexdigest())
        if known is not None:
            raise Replay(known.status, known.body)

    def is_known(self, session: Session) -> bool:
        """Whether there is an answer under the key. If it is this request's, `begin` says as soon
        as the form was read."""
        return self._key is not None and service.is_known(session, self._project_id, self._key)

    def answer(self, session: Session, shape: Answer, *, kept: Answer | None = None) -> Answer:
        """Record the answer with what it tells of; of one with a secret `kept`, without it."""
        if self._key is not None:
            service.record(
                session,
                self._project_id,
                self._key,
                self._sha256.hexdigest(),
                status=self._request.scope["route"].status_code or 200,
                body=(kept or shape).model_dump_json(),
            )
        return shape

    def add_body(self, body: bytes) -> None:
        self._sha256.update(body)

    def _add_form(self, form: Form) -> None:
        """Of a form's bytes the boundary is chosen anew each time: its parts tell what it says."""
        for name, value in sorted(form.fields.items()):
            self._add(name, value)
        _, stored = form.require_file()
        self._add(form.filename, stored.sha256)

    def _add(self, *parts: str) -> None:
        for part in parts:
            # With its length, so that nothing can be moved from one part to the next.
            data = part.encode("utf-8", "surrogatepass")
            self._sha256.update(b"%d:" % len(data) + data)


async def get_once(
    request: Request,
    principal: Writer,
    key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> AsyncIterator[Once]:
    once = Once(request, principal.project_id, key)
    if key is None:
        yield once
        return
    if not KEY.fullmatch(key):
        raise InvalidInput(
            "Idempotency-Key: 1 to 255 printable ASCII characters without spaces are right.",
            param="Idempotency-Key",
        )
    if not request.headers.get("content-type", "").startswith("multipart/"):
        once.add_body(await request.body())
    held = (principal.project_id, key)
    with _lock:
        if held in _under_way:
            raise service.in_progress()
        _under_way.add(held)
    try:
        yield once
    finally:
        with _lock:
            _under_way.discard(held)


# Before the answer is sent, and behind the commit if it stands before `SessionDep`.
OnceDep = Annotated[Once, Depends(get_once, scope="function")]


def replayed(request: Request, replay: Any) -> Response:
    return Response(
        replay.body,
        replay.code,
        headers={"idempotent-replayed": "true"},
        media_type="application/json",
    )
