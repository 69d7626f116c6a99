"""The job types that there are. A new one is a contract here and a recipe of the same name."""

from core.errors import InvalidInput
from core.jobs.types.base import JobType
from core.jobs.types.evaluate import EVALUATE
from core.jobs.types.generate import GENERATE
from core.jobs.types.merge import MERGE
from core.jobs.types.prepare import PREPARE
from core.jobs.types.serve import SERVE
from core.jobs.types.train import TRAIN

TYPES: tuple[JobType, ...] = (PREPARE, TRAIN, EVALUATE, MERGE, GENERATE, SERVE)


def job_type(name: str) -> JobType:
    for kind in TYPES:
        if kind.name == name:
            return kind
    names = ", ".join(kind.name for kind in TYPES)
    raise InvalidInput(f"There is no job type '{name}'; there are {names}.", param="type")
