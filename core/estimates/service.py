"""An estimate of a training: its tokens and steps, and on each live worker its memory and time.

Settings, prompt, steps and sizes come from `core.training`, by which the training itself goes.
Nothing is queued and nothing is written.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.estimates.asked import Asked
from core.estimates.sites import Site, on_worker
from core.fleet.service import live_workers
from core.jobs.occupancy import Queue, queues
from core.jobs.types.train import TRAIN


@dataclass(frozen=True)
class Estimate:
    asked: Asked
    sites: list[Site]
    queue: Queue | None

    @property
    def best(self) -> Site | None:
        """Where it can run and is done soonest, as far as that is known."""
        usable = [site for site in self.sites if site.usable]
        return min(
            usable, key=lambda site: site.time.seconds if site.time else float("inf"), default=None
        )

    @property
    def starts_at_once(self) -> bool:
        """Whether a slot is free that no queued job waits for."""
        return self.queue is not None and self.queue.free_slots > self.queue.ready


def estimate(session: Session, asked: Asked) -> Estimate:
    workers = [one for one in live_workers(session) if one.queue == TRAIN.queue]
    return Estimate(
        asked=asked,
        sites=[on_worker(session, asked, worker) for worker in workers],
        queue=next((one for one in queues(session) if one.name == TRAIN.queue), None),
    )
