"""The adapters that requests name, brought from the storage while others are answered.

Knows storage keys and the shelf; no request.
"""

import hashlib
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from core.storage import get_storage
from workers.ml.shelf import AtHand, Shelf
from workers.transfer import storage_failure

FETCHES = 2
"""Adapters that are brought at a time."""


class Adapters:
    """`folder`: where copies are put that a storage which is no disk needs."""

    def __init__(self, shelf: Shelf, folder: Path) -> None:
        self._shelf = shelf
        self._folder = folder
        self._pool = ThreadPoolExecutor(FETCHES, "fetch-adapter")
        self._fetching: dict[str, Future[Path]] = {}

    def at_hand(self, key: str, *, in_use: Collection[str]) -> bool:
        """Whether it is loaded. If not it is being brought; once it is there, it takes the place of
        one that is not `in_use`. TuneyardError or JobFailure where it can't be had or used: none
        goes for such a one."""
        if key in self._shelf:
            return True
        if key not in self._fetching:
            self._fetching[key] = self._pool.submit(self._fetch, key)
        fetched = self._fetching[key]
        if not fetched.done():
            return False
        if fetched.exception() is None and not self._shelf.has_room(in_use=in_use):
            return False
        self._shelf.put(key, self._fetching.pop(key).result(), in_use=in_use)
        return True

    def in_the_way(self, key: str) -> str | None:
        """The adapter that has to go before this one, which has been brought, can be loaded."""
        fetched = self._fetching.get(key)
        return self._shelf.oldest if fetched is not None and fetched.done() else None

    def use(self, key: str) -> AtHand:
        return self._shelf.use(key)

    def wait(self, seconds: float) -> None:
        """Until one of those that are being brought is there."""
        wait(self._fetching.values(), seconds, return_when=FIRST_COMPLETED)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        try:
            return get_storage().fetch(key, self._folder / name)
        except OSError as error:
            raise storage_failure(error) from error
