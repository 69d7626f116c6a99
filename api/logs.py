"""Log lines of the API: each bears the id of the request that it belongs to."""

import logging
import sys
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


def configure_logs() -> None:
    """Write our lines to stderr, unless whoever runs us has set up logging already."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(add_request_id)
    root.addHandler(handler)
    for name in ("api", "core"):
        logging.getLogger(name).setLevel(logging.INFO)


def add_request_id(record: logging.LogRecord) -> bool:
    # A context variable follows a request into the thread that works for it.
    record.request_id = REQUEST_ID.get()
    return True
