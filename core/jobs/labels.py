"""Finding jobs by their customer's own words on them, `Job.labels`. Knows no surface."""

from sqlalchemy import ColumnElement, String, and_, cast, func, literal, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from core.jobs.models import Job


def labelled(session: Session, wanted: dict[str, str]) -> ColumnElement[bool]:
    """The condition that a job bears each of these pairs, whatever characters are in them."""
    if session.get_bind().dialect.name == "postgresql":
        return cast(Job.labels, JSONB).contains(literal(wanted, JSONB))
    return and_(true(), *(_bears(key, value) for key, value in wanted.items()))


def unlabelled() -> ColumnElement[bool]:
    return cast(Job.labels, String) == "{}"


def _bears(key: str, value: str) -> ColumnElement[bool]:
    """On SQLite. Not by a JSON path: in one a quote in a key can't be written."""
    pairs = func.json_each(Job.labels).table_valued("key", "value", name="pair")
    found = select(pairs.c.key).where(pairs.c.key == key, pairs.c.value == value)
    return found.correlate(Job).exists()
