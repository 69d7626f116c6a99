"""May a role do more than read? Knows PostgreSQL's catalogue of roles and privileges.

Whatever the role could become by SET ROLE counts as its own. Temporary tables are let pass, since
PUBLIC may make them in every database: no statement that we send does.
"""

from core.errors import InvalidInput
from core.sql.postgres.runner import PostgresRunner

OLDEST_VERSION = 14
DANGEROUS = (
    "pg_checkpoint",
    "pg_create_subscription",
    "pg_execute_server_program",
    "pg_maintain",
    "pg_read_server_files",
    "pg_signal_autovacuum_worker",
    "pg_signal_backend",
    "pg_write_all_data",
    "pg_write_server_files",
)
_NAMED = 5  # objects that a refusal names

_MINE = "SELECT oid FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
_ATTRIBUTES = f"""
    SELECT current_user::text, current_database()::text, current_setting('server_version_num')::int,
        bool_or(rolsuper), bool_or(rolcreaterole), bool_or(rolcreatedb), bool_or(rolreplication),
        string_agg(rolname, ', ' ORDER BY rolname) FILTER (WHERE rolname = ANY (
            '{{{", ".join(DANGEROUS)}}}'::name[]))
    FROM pg_roles WHERE oid IN ({_MINE})
"""
_POWERS = ("is a superuser", "may create roles", "may create databases", "may replicate")


def _where(may: str) -> str:
    return f"EXISTS (SELECT FROM pg_roles r WHERE r.oid IN ({_MINE}) AND {may})"


_OWNS = f"""
    SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
    WHERE deptype = 'o' AND refclassid = 'pg_authid'::regclass AND refobjid IN ({_MINE})
        AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_CREATES = f"""
    SELECT 'database ' || current_database()
    WHERE {_where("has_database_privilege(r.oid, current_database(), 'CREATE')")}
    UNION ALL SELECT 'schema ' || n.oid::regnamespace FROM pg_namespace n
    WHERE {_where("has_schema_privilege(r.oid, n.oid, 'CREATE')")}
"""
_WRITING = "INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER"
# PUBLIC may "update" pg_settings: that is a SET, which we never send.
_WRITES = f"""
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid <> 'pg_settings'::regclass
        AND {_where(f"has_table_privilege(r.oid, c.oid, '{_WRITING}')")}
    UNION ALL SELECT c.oid::regclass::text FROM pg_class c
    WHERE relkind IN ('r', 'p', 'v', 'f') AND c.oid <> 'pg_settings'::regclass
        AND {_where("has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE')")}
    UNION SELECT 'sequence ' || c.oid::regclass FROM pg_class c
    WHERE relkind = 'S' AND {_where("has_sequence_privilege(r.oid, c.oid, 'USAGE, UPDATE')")}
"""
_CONNECTS = f"""
    SELECT 'server ' || s.srvname FROM pg_foreign_server s
    WHERE {_where("has_server_privilege(r.oid, s.oid, 'USAGE')")}
    UNION ALL SELECT 'wrapper ' || w.fdwname FROM pg_foreign_data_wrapper w
    WHERE {_where("has_foreign_data_wrapper_privilege(r.oid, w.oid, 'USAGE')")}
"""
_FINDINGS = (
    ("owns", _OWNS),
    ("may create in", _CREATES),
    ("may write to", _WRITES),
    ("may set up foreign tables of", _CONNECTS),
)
GRANTS = """\
CREATE ROLE tuneyard_reader LOGIN PASSWORD '…';
GRANT CONNECT ON DATABASE {database} TO tuneyard_reader;
GRANT USAGE ON SCHEMA public TO tuneyard_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tuneyard_reader;"""
_PUBLIC = "REVOKE CREATE ON SCHEMA public FROM PUBLIC;"  # older servers let everybody


def require_reader(runner: PostgresRunner) -> None:
    """`InvalidInput` if the role behind a trusted runner may do more than read; it names what, and
    what makes one that may not."""
    ((role, database, version, *powers, member_of),) = rows_of(runner, _ATTRIBUTES)
    if version < OLDEST_VERSION * 10_000:
        raise InvalidInput(
            f"The server is PostgreSQL {version // 10_000}; {OLDEST_VERSION} or newer is right.",
            param="dsn",
            code="unsupported_server",
        )
    faults = [name for name, given in zip(_POWERS, powers, strict=True) if given]
    if not powers[0]:  # a superuser may do all the rest as well
        faults += [f"is a member of {member_of}"] if member_of else []
        faults += [found for verb, query in _FINDINGS if (found := _found(runner, verb, query))]
    if faults:
        raise _too_powerful(role, database, faults)


def rows_of(runner: PostgresRunner, sql: str) -> list[tuple]:
    """The rows of a statement of our own on the catalogue."""
    outcome = runner.run(sql)
    if outcome.error is not None:
        raise InvalidInput(
            f"The database's catalogue can't be read: {outcome.error.message}.", param="dsn"
        )
    return outcome.rows


def _found(runner: PostgresRunner, verb: str, query: str) -> str:
    names = [name for (name,) in rows_of(runner, f"SELECT * FROM ({query}) AS found LIMIT 1000")]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{verb} {', '.join(names[:_NAMED])}{more}"


def _too_powerful(role: str, database: str, faults: list[str]) -> InvalidInput:
    grants = GRANTS.format(database='"' + database.replace('"', '""') + '"').replace("\n", " ")
    if any(fault.startswith("may create in") and "schema public" in fault for fault in faults):
        grants = f"{_PUBLIC} {grants}"
    return InvalidInput(
        f"The role '{role}' {'; it '.join(faults)}. A database is asked with a role that can only "
        f"read. An administrator of the database makes one by: {grants} Then register with it.",
        param="dsn",
        code="role_can_write",
    )
