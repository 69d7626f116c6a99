"""Redis as `redis_url` names it, for whoever asks or answers. Knows no key.

A connection that says nothing for SILENT_SECONDS is given up; whoever waits for an event waits for
less.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio

from core.errors import Unavailable
from core.settings import get_settings

SILENT_SECONDS = 5.0


def connect() -> redis.Redis:
    """For a thread that may wait."""
    return redis.Redis.from_url(plain_url(), **_options())


def connect_async() -> redis.asyncio.Redis:
    """For the event loop that is running."""
    return redis.asyncio.Redis.from_url(plain_url(), **_options())


def plain_url() -> str:
    """The setting in redis-py's words, which Celery's differ from for a socket; or
    `Unavailable`."""
    url = get_settings().redis_url
    if not url:
        raise Unavailable(
            "Chat needs Redis or Valkey beside RabbitMQ, and none is configured: an operator sets "
            "TUNEYARD_REDIS_URL for the API and the workers.",
            code="no_redis",
        )
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"unix://{login}{parts.path}?db={host.lstrip('/') or 0}"


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": SILENT_SECONDS,
        "socket_connect_timeout": SILENT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
