"""How a database finds what it is asked for."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.orm import Session


def plans(session: Session, work: Callable[[Session], Any]) -> list[str]:
    """What the database says of each query of `work`, as of tables that are large: PostgreSQL
    reads small ones from end to end."""
    asked: list[tuple[str, Any]] = []
    connection = session.connection()

    def note(_connection: Any, _cursor: Any, sql: str, values: Any, *_: Any) -> None:
        asked.append((sql, values))

    event.listen(connection, "before_cursor_execute", note)
    work(session)
    event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        explain = "EXPLAIN"
        for way in ("seqscan", "sort", "bitmapscan"):
            session.execute(text(f"SET LOCAL enable_{way} = off"))
    found = [connection.exec_driver_sql(f"{explain} {sql}", values) for sql, values in asked]
    return ["\n".join(str(row[-1]) for row in rows) for rows in found]
