"""Jobs as a list shows them: parameters may be megabytes, and a list has a thousand jobs."""

from typing import Any

from sqlalchemy import Select, Text, cast, func, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import set_committed_value

from core.jobs.models import Job
from core.pages import Page, PageQuery, read_page

MOST_PARAMS = 64 * 1024
"""Characters of a job's parameters, as JSON, up to which a list has them."""


def read_jobs(session: Session, query: Select[Any], page: PageQuery) -> Page:
    """A page of jobs; `params` is None where they are longer: those are not even read."""
    found = read_page(session, query.options(defer(Job.params)), Job.id, page)
    short = select(Job.id, Job.params).where(
        Job.id.in_([job.id for job in found.rows]),
        func.length(cast(Job.params, Text)) <= MOST_PARAMS,
    )
    params = {job_id: value for job_id, value in session.execute(short)}
    for job in found.rows:
        set_committed_value(job, "params", params.get(job.id))
    return found
