"""The servers that other tests lean on are real ones."""

import psycopg
import redis

from core.storage import Storage
from tests.servers import new_postgres_database, valkey_server


def test_each_caller_gets_an_empty_database_of_its_own(postgres_server_url):
    first, second = (new_postgres_database(postgres_server_url) for _ in range(2))
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
    with psycopg.connect(second) as connection:
        tables = connection.execute("SELECT to_regclass('only_here')").fetchone()
    assert tables == (None,)


def test_valkey_is_reached_by_celerys_own_library(valkey_url):
    from kombu import Connection

    with Connection(valkey_url) as connection, connection.SimpleQueue("greetings") as queue:
        queue.put({"job": "job_1"})
        assert queue.get(timeout=5).payload == {"job": "job_1"}


def test_a_server_is_gone_after_its_block():
    with valkey_server() as url:
        path = url.removeprefix("redis+socket://").split("?")[0]
        assert redis.Redis(unix_socket_path=path).ping()
    try:
        redis.Redis(unix_socket_path=path, retry=None).ping()
    except redis.ConnectionError:
        return
    raise AssertionError("the server still answers")


def test_s3_keeps_what_is_put_and_each_url_is_empty_at_first(s3_storage, tmp_path):
    first, second = (Storage(s3_storage.new_url()) for _ in range(2))
    (tmp_path / "问题").write_bytes(b"bytes")
    first.put(tmp_path / "问题", "a/b")
    assert first.open("a/b").read() == b"bytes"
    assert not second.fs.exists(f"{second.root}/a/b")
