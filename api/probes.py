"""Is a part of the platform there? Asked with a bound in time: one that hangs is away.

Each question has a thread of its own: a hung one must hold up neither the answer nor the exit.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

SECONDS = 3.0
AWAY = object()


class Question:
    """Asked once, in a thread; `found` is AWAY until it is answered."""

    def __init__(self, name: str, ask: Callable[[], Any]) -> None:
        self._name = name
        self._ask = ask
        self.found: Any = AWAY
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.found = self._ask()
        except Exception as error:  # whatever it is, the answer is the same: this part is away
            log.warning("%s: %s", self._name, error)


class Probe:
    """One part. While a question to it hangs no second one is asked: who comes waits for that."""

    def __init__(self, name: str, ask: Callable[[], Any]) -> None:
        self.name = name
        self._ask = ask
        self._last: Question | None = None

    def ask(self) -> Question:
        if self._last is None or not self._last.open:
            self._last = Question(self.name, self._ask)
        return self._last


async def ask_all(probes: list[Probe], seconds: float = SECONDS) -> dict[str, Any]:
    """What each part answers within that time, all asked at once; AWAY for one that does not."""
    questions = {probe.name: probe.ask() for probe in probes}
    deadline = time.monotonic() + seconds
    while any(one.open for one in questions.values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return {name: one.found for name, one in questions.items()}
