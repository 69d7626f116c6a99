"""What bounds an attempt: its claim, the job's time limit, the wishes of its user and of the
operator. Knows neither the work nor the database."""

import time

from core.errors import JobFailure
from core.jobs.claims import Claim, LostClaim
from core.settings import Settings
from workers.drain import DRAIN
from workers.heart import Heart


class StopAsked(Exception):
    """Nothing has begun that would have to be saved: the attempt ends here, as wished."""


class Limits:
    """`stop` is why the attempt is to end early: cancel before pause, pause before drain."""

    def __init__(self, claim: Claim, settings: Settings, heart: Heart) -> None:
        self.claim = claim
        self.heart = heart
        self.stop: str | None = None
        self._grace = settings.stop_grace_seconds
        self._patience_ends = float("inf")
        self._deadline = time.monotonic() + claim.time_limit_seconds - claim.spent_seconds

    def keep_claim(self) -> None:
        """Raise `LostClaim` if another may have the job by now."""
        if (reason := self.heart.lost) is not None:
            raise LostClaim(f"{self.claim.job_id}: {reason}")

    def check(self) -> None:
        """Raise if the claim is lost or the time is over; hear who wants the job to stop."""
        self.keep_claim()
        if time.monotonic() > self._deadline:
            raise JobFailure("timeout", _too_long(self.claim))
        wish = self._wish()
        if wish is not None and self.stop is None:
            self.wait_anew()
        self.stop = wish or self.stop

    def check_or_stop(self) -> None:
        """While the runner has not begun: a wish ends the attempt at once."""
        self.check()
        if self.stop is not None:
            raise StopAsked(self.stop)

    def check_while_finishing(self) -> None:
        """While the result is stored: a cancel ends it at once, the rest after the grace."""
        self.check()
        if self.stop == "cancel" or self.patience_over:
            raise StopAsked(self.stop)

    def wait_anew(self) -> None:
        """Grant the grace from now on."""
        self._patience_ends = time.monotonic() + self._grace

    @property
    def patience_over(self) -> bool:
        """Was the wish to stop not fulfilled within the grace?"""
        return time.monotonic() > self._patience_ends

    def _wish(self) -> str | None:
        wishes = self.heart.wishes
        if wishes.cancel:
            return "cancel"
        if wishes.pause:
            return "pause"
        return "drain" if DRAIN.is_set() else None


def _too_long(claim: Claim) -> str:
    return (
        f"The job's time limit of {claim.time_limit_seconds / 3600:.3g} hours is over. POST "
        f"/v1/jobs/{claim.job_id}/retry goes on where it ended, with the same limit again; a "
        "submit may set a longer time_limit_seconds."
    )
