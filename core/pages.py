"""Keyset pages, newest first: the one way in which lists are read. Knows no table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import Session

from core.errors import InvalidInput

# What the rows of a page may be together, where they can be large.
MOST_CHARACTERS = 8 * 1024**2
SIZES_AT_ONCE = 20


@dataclass(frozen=True)
class PageQuery:
    """Up to `limit` rows behind the row whose id is `after`."""

    after: str | None = None
    limit: int = 20
    order: str = "desc"


@dataclass(frozen=True)
class Page:
    rows: list[Any]
    has_more: bool


def read_page(
    session: Session,
    query: Select[Any],
    key: Any,
    page: PageQuery,
    *,
    cursor: Callable[[str], Any] = str,
    size: ColumnElement[int] | None = None,
) -> Page:
    """One page of `query` along the unique column `key` (ids sort by age). `size`: of a row, in
    characters; such a page ends before MOST_CHARACTERS, but has a row."""
    if page.after is not None:
        try:
            after = cursor(page.after)
            if isinstance(after, int) and not 0 <= after < 2**63:
                raise ValueError(after)
        except ValueError:
            raise InvalidInput(
                f"after={page.after!r} is no id of this list.", param="after"
            ) from None
        query = query.where(key < after if page.order == "desc" else key > after)
    ordered = query.order_by(key.desc() if page.order == "desc" else key.asc())
    if size is None:
        rows = list(session.scalars(ordered.limit(page.limit + 1)).unique())
        return Page(rows[: page.limit], len(rows) > page.limit)
    keys, has_more = _fitting(session, ordered.with_only_columns(key, size), page.limit)
    return Page(list(session.scalars(ordered.where(key.in_(keys)))), has_more)


def _fitting(session: Session, sizes: Select[Any], limit: int) -> tuple[list[Any], bool]:
    """The keys of what goes onto a page, and whether there is more. The database looks at the sizes
    of a few rows at a time: it has to read these whole."""
    keys: list[Any] = []
    total = 0
    options = {"yield_per": SIZES_AT_ONCE}
    with session.execute(sizes.limit(limit + 1), execution_options=options) as found:
        for key, more in found:
            total += more
            if keys and (len(keys) == limit or total > MOST_CHARACTERS):
                return keys, True
            keys.append(key)
    return keys, False
