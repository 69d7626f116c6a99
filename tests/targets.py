"""PostgreSQL as what questions are about: a server that asks for passwords, databases, readers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import psycopg

from tests.servers import Server, free_port, killable_postgres, new_postgres_database

PASSWORD = "pg-canary/4711@§?"
"""Of every reader. With signs that a URL has to escape, and that no output may ever show."""

GRANTS = """
GRANT CONNECT ON DATABASE "{database}" TO {role};
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};
"""


@dataclass(frozen=True)
class Target:
    """A database: `admin` is the superuser's URL of it, `dsn` the reader's."""

    name: str
    admin: str
    dsn: str
    port: int

    def execute(self, script: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(script)

    def value(self, sql: str) -> object:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            return connection.execute(sql).fetchone()[0]

    def dsn_of(self, role: str, password: str = PASSWORD) -> str:
        return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{self.port}/{self.name}"

    def add_role(self, role: str, *grants: str, options: str = "") -> str:
        """A role that may log in; its DSN."""
        self.execute(f"CREATE ROLE {role} LOGIN {options} PASSWORD '{PASSWORD}'")
        for grant in grants:
            self.execute(grant.format(role=role, database=self.name))
        return self.dsn_of(role)


@dataclass(frozen=True)
class TargetServer:
    """A server of which each test may have databases of its own."""

    server: Server
    port: int

    def new_database(self, script: str = "") -> Target:
        """With what the script makes, and a role that can read it."""
        admin = new_postgres_database(self.server.url)
        name = urlsplit(admin).path.removeprefix("/")
        made = Target(name, admin, "", self.port)
        if script:
            made.execute(script)
        dsn = made.add_role(f"reader_{name}", GRANTS)
        return Target(name, admin, dsn, self.port)


@contextmanager
def target_postgres() -> Iterator[TargetServer]:
    port = free_port()
    with killable_postgres(port=port, password=PASSWORD) as server:
        yield TargetServer(server, port)
