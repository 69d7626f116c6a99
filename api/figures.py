"""What this process counts itself: its HTTP requests, by the route's template. Knows no resource.

A template, never a path: ids and names stand in paths, and a label must not have one.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import Scope

HTTP = CollectorRegistry()
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_requests = Counter(
    "tuneyard_http_requests",
    "Requests answered by this process.",
    ("method", "route", "status"),
    registry=HTTP,
)
_seconds = Histogram(
    "tuneyard_http_request_seconds",
    "Time to the end of the answer, in this process.",
    ("method", "route"),
    buckets=BUCKETS,
    registry=HTTP,
)


def count_request(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = template(scope)
    _requests.labels(method, route, str(status)).inc()
    _seconds.labels(method, route).observe(seconds)


def template(scope: Scope) -> str:
    """The path of the route that was taken, with its parameters' names; `none` without one."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return "none"
    # A router that was included knows its own part of the path alone.
    below = scope["path"].startswith("/v1/") and not path.startswith("/v1/")
    return f"/v1{path}" if below else path
