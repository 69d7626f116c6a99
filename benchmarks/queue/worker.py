"""The product's worker, which knows the type `noop` besides."""

from benchmarks.queue import noop

noop.install()

from workers import spare  # noqa: E402
from workers.app import app  # noqa: E402

spare.RUNNER = "benchmarks.queue.runner"

__all__ = ["app"]
