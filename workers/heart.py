"""The thread that keeps a claim alive and hears the user's wishes. Knows nothing of the work."""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from core.db import get_database
from core.jobs import claims
from core.jobs.claims import Claim, LostClaim, Wishes
from core.settings import Settings

log = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0


class Heart(threading.Thread):
    """Renews the lease each heartbeat and reads the wishes each second.

    `lost` is set once the claim is gone, or could not be renewed for so long that another worker
    may have it: whoever sees it stops and writes nothing.
    """

    def __init__(self, claim: Claim, settings: Settings, on_beat: Callable[[], None]) -> None:
        super().__init__(name=f"heart-{claim.job_id}", daemon=True)
        self.claim = claim
        self.settings = settings
        self.on_beat = on_beat
        self.lost: str | None = None
        self.wishes = Wishes(cancel=False, pause=False)
        self._renewed = time.monotonic()
        self._ended = threading.Event()

    def run(self) -> None:
        pace = min(LISTEN_SECONDS, self.settings.heartbeat_seconds / 2)
        while self.lost is None and not self._ended.wait(pace):
            try:
                self._beat()
            except LostClaim:
                self.lost = "the job was given to another attempt, or has ended"
            except SQLAlchemyError as error:
                log.warning("job %s: heartbeat failed: %s", self.claim.job_id, error)
                self._fence()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _beat(self) -> None:
        began = time.monotonic()
        database = get_database(self.settings)
        if began - self._renewed < self.settings.heartbeat_seconds:
            with database.reading() as session:
                self.wishes = claims.wishes(session, self.claim)
            return
        with database.transaction() as session:
            self.wishes = claims.renew(session, self.claim)
        # From before the query: the lease may have been written at any moment since then.
        self._renewed = began
        self.on_beat()

    def _fence(self) -> None:
        silent = time.monotonic() - self._renewed
        if silent > self.settings.lease_seconds - self.settings.fence_grace_seconds:
            self.lost = f"the lease could not be renewed for {silent:.0f} s"
