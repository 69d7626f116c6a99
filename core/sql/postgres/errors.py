"""From PostgreSQL's SQLSTATE to one of our classes. Knows codes; wording may be localised."""

from core.sql.errors import SqlError

# The first that the code begins with counts.
_CLASSES = (
    ("42P01", "unknown_table"),
    ("3F000", "unknown_table"),  # the schema
    ("42703", "unknown_column"),
    ("42702", "unknown_column"),  # ambiguous
    ("42P10", "unknown_column"),  # ORDER BY 7
    ("42601", "syntax"),
    ("08P01", "syntax"),  # a parameter, $1
    ("57014", "timeout"),
    ("55P03", "timeout"),  # waited for a lock
    ("25006", "forbidden"),  # to write
    ("42501", "forbidden"),  # the role may not
    ("53", "memory"),  # or disk, for what does not fit into it
    ("54000", "memory"),  # a value of more than 1 GB
)
_SAID = {
    "timeout": "the query took longer than it is allowed",
    "memory": "the query needs more memory than it is allowed",
}


def classify(*, sqlstate: str, message: str) -> SqlError:
    """The error of a statement that the server refused."""
    klass = next((klass for code, klass in _CLASSES if sqlstate.startswith(code)), "runtime")
    return SqlError(klass, _SAID.get(klass) or message or f"SQLSTATE {sqlstate}")
