"""How a runner gets to a target database: a copy of its file, or its DSN by the pipe alone."""

from core.databases.models import TargetDatabase
from core.databases.service import dsn_of
from core.jobs.types.base import Input


def database_inputs(database: TargetDatabase) -> dict[str, Input]:
    return {"database": Input(database.storage_key)} if database.storage_key else {}


def database_secrets(database: TargetDatabase) -> dict[str, str]:
    return {"dsn": dsn_of(database)} if database.dsn else {}
