"""The thread that keeps a claim alive and hears the user's wishes. Knows nothing of the work."""

import logging
import threading
import time
from collections.abc import Callable

from core.db import get_database
from core.jobs import claims
from core.jobs.claims import Claim, LostClaim, Wishes
from core.jobs.dispatch import waits_for
from core.jobs.types import job_type
from core.logs import logged
from core.settings import Settings

log = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
END_SECONDS = 5.0


class Heart(threading.Thread):
    """Renews the lease each heartbeat and reads the wishes each second.

    `lost` says why the claim is gone, or may be: the database does not answer, and the lease will
    be over before it could be renewed. Whoever sees it stops and writes nothing. `others_wait`:
    jobs that may run wait in vain for a slot; it is asked only for a type that yields.
    """

    def __init__(self, claim: Claim, settings: Settings, on_beat: Callable[[], None]) -> None:
        super().__init__(name=f"heart-{claim.job_id}", daemon=True)
        self.claim = claim
        self.settings = settings
        self.on_beat = on_beat
        self.wishes = Wishes(cancel=False, pause=False)
        self.others_wait = False
        self._kind = job_type(claim.type)
        self._noticed: str | None = None
        self._renewed = time.monotonic()
        self._ended = threading.Event()

    @property
    def lost(self) -> str | None:
        if self._silent > self.settings.lease_seconds:  # the thread may hang in a query
            return f"the lease could not be renewed for {self._silent:.0f} s"
        return self._noticed

    @property
    def _silent(self) -> float:
        return time.monotonic() - self._renewed

    def run(self) -> None:
        claim = self.claim  # a thread begins without what the one that started it bears
        with logged(project=claim.project_id, job=claim.job_id, attempt=claim.token):
            self._live()

    def _live(self) -> None:
        pace = min(LISTEN_SECONDS, self.settings.heartbeat_seconds / 2)
        while self.lost is None and not self._ended.wait(pace):
            try:
                self._beat()
            except LostClaim:
                self._noticed = "the job was given to another attempt, or has ended"
            except Exception as error:  # a thread that dies silently would cost the claim
                log.warning("job %s: heartbeat failed: %s", self.claim.job_id, error)
                self._fence()

    def end(self) -> None:
        self._ended.set()
        # Not for ever: it may hang in a query, whose write is fenced by the token.
        self.join(timeout=END_SECONDS)

    def _beat(self) -> None:
        began = time.monotonic()
        database = get_database(self.settings)
        if began - self._renewed < self.settings.heartbeat_seconds:
            with database.reading() as session:
                self.wishes = claims.wishes(session, self.claim)
                if self._kind.yields:
                    self.others_wait = waits_for(session, self._kind.queue, self.claim.project_id)
            return
        with database.transaction() as session:
            self.wishes = claims.renew(session, self.claim)
        # From before the query: the lease may have been written at any moment since then.
        self._renewed = began
        self.on_beat()

    def _fence(self) -> None:
        if self._silent > self.settings.lease_seconds - self.settings.fence_grace_seconds:
            self._noticed = f"the lease could not be renewed for {self._silent:.0f} s"
