"""`/v1/sql` over HTTP: the statement, whether it parses and runs, rows if they are wanted."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from core.serving.wire import End, Event, Sql, Usage
from tests.api.conftest import make_key
from tests.api.served import Speaker
from tests.e2e.shop import build_shop

ASKED = {"model": "tiny", "database": "shop", "question": "上海有多少客户?"}

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def shop(http: httpx.Client, tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {make_key('ours', 'write')}"}
    with build_shop(tmp_path / "shop.sqlite").open("rb") as file:
        made = http.post(
            "/v1/databases", data={"name": "shop"}, files={"file": file}, headers=headers
        )
    assert made.status_code == 201, made.text


def saying(text: str) -> list[Event]:
    return [End(0, text, "stop"), Usage(30, 12)]


def test_a_question_is_answered_with_sql_that_was_run(http: httpx.Client, shop: None) -> None:
    sql = "SELECT COUNT(*) AS n FROM customers WHERE city = '上海'"
    with Speaker(lambda asked: saying(f"```sql\n{sql};\n```")) as speaker:
        answer = http.post("/v1/sql", json=ASKED | {"rows": 5}).json()
    assert answer["object"] == "sql.answer"
    assert (answer["sql"], answer["parses"], answer["executes"]) == (sql, True, True)
    assert (answer["columns"], answer["rows"], answer["row_count"]) == (["n"], [[10]], 1)
    assert answer["error"] is None
    assert answer["usage"]["total_tokens"] == 42
    prompt = speaker.asked[0].request.prompt
    assert isinstance(prompt, Sql)
    assert prompt.question == ASKED["question"]
    assert "customers" in prompt.schema_text
    assert prompt.dialect == "sqlite"


def test_rows_come_only_if_they_are_wanted_and_no_more_than_that(
    http: httpx.Client, shop: None
) -> None:
    with Speaker(lambda asked: saying("SELECT id FROM customers")):
        none = http.post("/v1/sql", json=ASKED).json()
        some = http.post("/v1/sql", json=ASKED | {"rows": 3}).json()
    assert (none["rows"], none["row_count"]) == (None, 60)
    assert (len(some["rows"]), some["row_count"]) == (3, 60)


@pytest.mark.parametrize(
    ("text", "parses", "klass"),
    [
        ("SELECT COUNT(* FROM customers", False, "syntax"),
        ("SELECT town FROM customers", True, "unknown_column"),
        ("DELETE FROM customers", False, "forbidden"),
        ("I don't know.", False, "not_a_query"),
    ],
)
def test_sql_that_does_not_run_says_why(
    http: httpx.Client, shop: None, text: str, parses: bool, klass: str
) -> None:
    with Speaker(lambda asked: saying(text)):
        answer = http.post("/v1/sql", json=ASKED | {"rows": 5})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["parses"], told["executes"], told["error"]["class"]) == (parses, False, klass)
    assert told["rows"] is None


@pytest.mark.parametrize(
    ("given", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"database": "nowhere"}, 404, "database"),
        ({"question": ""}, 400, "question"),
        ({"rows": 1001}, 400, "rows"),
        ({"temperature": 1}, 400, "temperature"),
    ],
)
def test_what_is_wrong_is_named(
    client: TestClient, given: dict[str, Any], status: int, param: str
) -> None:
    answer = client.post("/v1/sql", json=ASKED | given)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
