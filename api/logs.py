"""How this process logs: as all others do, and of each request one line, which the gate writes."""

import logging

from core import logs


def configure_logs() -> None:
    """Write our lines to stderr, unless whoever runs us has set up logging already (a test)."""
    if logging.getLogger().handlers:
        return
    logs.install(logging.WARNING)
    for name in ("api", "core", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = name != "uvicorn.access"  # the gate says the same, and whose it was
