"""Redis as `redis_url` names it, for whoever asks or answers. Knows no key.

A connection that says nothing for SILENT_SECONDS is given up; whoever waits for an event waits for
less. Nothing is tried again by itself: what was heard once would be heard twice.

The asynchronous client is given no timeout of its own and is bounded from outside: with one,
redis-py sends by `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes as the
sending ends, and a caller that went away would be waited for.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import Unavailable
from core.settings import get_settings

SILENT_SECONDS = 5.0


def connect() -> redis.Redis:
    """For a thread that may wait."""
    url = plain_url()
    return redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=SILENT_SECONDS, **_options(url)
    )


def connect_async() -> redis.asyncio.Redis:
    """For the event loop that is running; its user bounds each wait."""
    url = plain_url()
    return redis.asyncio.Redis.from_url(
        url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=None, **_options(url)
    )


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


def _options(url: str) -> dict[str, Any]:
    by_network = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return by_network | {
        "decode_responses": True,
        "socket_connect_timeout": SILENT_SECONDS,
        "health_check_interval": 10,
    }
