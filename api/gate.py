"""What stands before every route: an id, the key, the size of the body; and what every answer
gets: headers, a log line, a figure. Knows no resource.

The key is looked at before a byte of the body is read: who has none can't make us parse anything.
"""

import logging
import re
import secrets
import time
from dataclasses import dataclass

from fastapi import HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.deps import principal_of
from api.errors import answer_to
from api.figures import count_request
from core.errors import InvalidInput, TooLarge
from core.logs import logged, note
from core.settings import get_settings
from core.uploads.service import PART_BYTES

log = logging.getLogger("api.access")

STREAMED = ("/v1/files", "/v1/datasets", "/v1/databases")
"""Where a POST is a form whose file is written to disk as it comes, under bounds of its own."""
PART = re.compile(r"/v1/uploads/[^/]+/parts")
FORM_BYTES = 16 * 1024**2
"""What a form may have beside its file."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
# What is fetched here is data, never a page, and never a proxy's to keep.
API_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass
class Passage:
    """One request on its way through."""

    scope: Scope
    receive: Receive
    send: Send
    request_id: str
    code: int = 0
    """Of the answer; 0 until the answer has begun."""
    received: int = 0

    @property
    def path(self) -> str:
        return self.scope["path"]

    async def answer(self, message: Message) -> None:
        """Send on, with the headers that every answer bears."""
        if message["type"] == "http.response.start":
            self.code = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            ours = HEADERS | (API_HEADERS if self.path.startswith("/v1/") else {})
            for name, value in ours.items():
                headers.setdefault(name, value)
        await self.send(message)

    async def bounded(self) -> Message:
        """The next piece of the body, unless it is too much."""
        message = await self.receive()
        self.received += len(message.get("body", b""))
        if self.received > self.most_bytes():
            # FastAPI lets this class alone through while it reads a body.
            raise HTTPException(413, self.too_large().message)
        return message

    def most_bytes(self) -> int:
        settings = get_settings()
        kind = Headers(scope=self.scope).get("content-type", "")
        if kind.startswith("multipart/form-data"):
            if self.path in STREAMED:
                return max(settings.max_upload_bytes, settings.max_database_bytes) + FORM_BYTES
            if PART.fullmatch(self.path):
                return PART_BYTES + FORM_BYTES
        return settings.max_body_bytes

    def too_large(self) -> TooLarge:
        mib = self.most_bytes() / 1024**2
        return TooLarge(f"The request's body is larger than {mib:g} MiB; send less at once.")

    def check_length(self) -> None:
        """Refuse a body that is too large by its own account, before it is read."""
        length = Headers(scope=self.scope).get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            raise InvalidInput(f"content-length: {length[:40]!r} is no number.")
        if int(length[:20]) > self.most_bytes():
            raise self.too_large()


class Gate:
    """The middleware. Pure ASGI, so that streams pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = Passage(scope, receive, send, f"req_{secrets.token_hex(8)}")
        with logged(request_id=passage.request_id):
            begun = time.monotonic()
            try:
                await self._pass(passage)
            finally:
                self._tell(passage, time.monotonic() - begun)

    async def _pass(self, passage: Passage) -> None:
        try:
            if passage.path.startswith("/v1/"):
                await self._admit(passage)
            passage.check_length()
            await self.app(passage.scope, passage.bounded, passage.answer)
        except Exception as error:
            if passage.code:
                raise  # half an answer is out: the connection has to end
            response: Response = answer_to(Request(passage.scope), error)
            await response(passage.scope, passage.receive, passage.answer)

    def _tell(self, passage: Passage, seconds: float) -> None:
        code = passage.code or 499  # the caller went away before there was an answer
        count_request(passage.scope, code, seconds)
        method, path = passage.scope["method"], _printable(passage.path)
        data = {"method": method, "path": path, "status": code, "seconds": round(seconds, 4)}
        log.info("%s %s %d %.3f s", method, path, code, seconds, extra={"data": data})

    async def _admit(self, passage: Passage) -> None:
        """Leave in the request's state who asks, or raise why nobody does."""
        header = Headers(scope=passage.scope).get("authorization", "")
        principal = await run_in_threadpool(principal_of, header)
        passage.scope.setdefault("state", {})["principal"] = principal
        note(project=principal.project_id)


def _printable(path: str) -> str:
    """With what is not printable escaped: a line break in a path must not make a line of a log."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in path)
