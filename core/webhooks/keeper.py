"""The keeper's share of webhooks: a thread for each endpoint to which something is due.

So an endpoint that is slow or hangs holds up neither the keeper's sweep nor another endpoint; and
one that fails is left alone until its next turn, whatever else waits for it.
"""

import logging
import threading

from core.db import get_database
from core.errors import InvalidInput
from core.settings import get_settings
from core.webhooks import deliveries
from core.webhooks.sending import Unsent, send

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16

_lock = threading.Lock()
_at_work: set[str] = set()
"""Endpoints to which a thread of this process sends."""


def deliver_in_background() -> int:
    """Begin to send what is due; returns to how many endpoints."""
    with _lock:
        at_work = set(_at_work)
    with get_database().reading() as session:
        due = deliveries.due_endpoints(session, but=at_work, most=MOST_AT_ONCE)
    return sum(_begin(endpoint_id) for endpoint_id in due)


def _begin(endpoint_id: str) -> bool:
    with _lock:
        if endpoint_id in _at_work or len(_at_work) >= MOST_AT_ONCE:
            return False
        _at_work.add(endpoint_id)
    name = f"webhook-{endpoint_id}"
    threading.Thread(target=_deliver, args=(endpoint_id,), name=name, daemon=True).start()
    return True


def _deliver(endpoint_id: str) -> None:
    try:
        while deliver_next(endpoint_id):
            pass
    except Exception:  # the next run tries again
        log.exception("could not send to endpoint %s", endpoint_id)
    finally:
        with _lock:
            _at_work.discard(endpoint_id)


def deliver_next(endpoint_id: str) -> bool:
    """Send one delivery; False if there is none, or it was not taken: enough for this turn."""
    with get_database().transaction() as session:
        tried = deliveries.take(session, endpoint_id)
    if tried is None:
        return False
    code, reason = _try(tried)
    with get_database().transaction() as session:
        if reason is None:
            deliveries.delivered(session, tried, code)
        else:
            deliveries.failed(session, tried, reason, code)
    log.info("%s to endpoint %s: %s", tried.event["id"], endpoint_id, reason or code)
    return reason is None


def _try(tried: deliveries.Try) -> tuple[int | None, str | None]:
    """The answer's code, and what is wrong if the event was not taken."""
    private = get_settings().webhook_allow_private
    try:
        code = send(tried.url, tried.event, tried.secrets, allow_private=private)
    except (Unsent, InvalidInput) as refused:
        return None, str(refused)
    except Exception as error:  # ours; but it must end some time, as any other failure
        log.exception("%s could not be sent", tried.event["id"])
        return None, f"the platform could not send it ({type(error).__name__})"
    return code, None if 200 <= code < 300 else f"the endpoint answered {code}; 2xx is right"
