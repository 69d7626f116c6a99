"""Refusals of what no database can store and no answer can repeat."""

import json

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from api.errors import answer_to
from core.db import Database

HALF = '"\\ud800"'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", f'{{"type": "train", "params": {{"model": {HALF}, "dataset": "d"}}}}'),
        ("/v1/estimates", f'{{"params": {{"model": {HALF}, "dataset": "d"}}}}'),
        ("/v1/fine_tuning/jobs", f'{{"model": {HALF}, "training_file": "file-x"}}'),
        ("/v1/projects", f'{{"name": {HALF}}}'),
        ("/v1/keys", f'{{"name": {HALF}}}'),
        ("/v1/merges", f'{{"adapter": {HALF}}}'),
        ("/v1/merges", f'{{"adapter": "a:1", "name": {HALF}}}'),
        ("/v1/evaluations", f'{{"model": {HALF}, "dataset": "d"}}'),
        ("/v1/batches", f'{{"input_file_id": {HALF}, "endpoint": "/v1/sql"}}'),
        ("/v1/uploads", f'{{"filename": {HALF}, "purpose": "x", "bytes": 1, "mime_type": "x"}}'),
        ("/v1/uploads/upload_x/complete", f'{{"part_ids": [{HALF}]}}'),
        ("/v1/databases", f'{{"name": {HALF}, "dsn": "postgresql://a@b/c"}}'),
        ("/v1/databases/shop/query", f'{{"sql": {HALF}}}'),
        ("/v1/webhook_endpoints", f'{{"url": {HALF}, "events": ["batch.failed"]}}'),
        ("/v1/sql", f'{{"model": {HALF}, "database": "d", "question": "q"}}'),
        ("/v1/sql", f'{{"model": "m", "database": "d", "question": "q", {HALF}: 1}}'),
        ("/v1/chat/completions", f'{{"model": {HALF}, "messages": []}}'),
        ("/v1/chat/completions", f'{{"model": "m", "messages": [], {HALF}: 1}}'),
        ("/v1/jobs", f'{{"type": {HALF}, "params": {{}}}}'),
        ("/v1/jobs", f"{{{HALF}: {{}}}}"),
    ],
)
def test_half_a_character_in_a_body_is_refused(client, path, body):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_says_what_is_wrong_with_its_text(client):
    said = client.post(
        "/v1/uploads/upload_x/complete",
        content='{"part_ids": ["\\udc00"]}',
        headers={"content-type": "application/json"},
    ).json()["error"]
    assert "half a character" in said["message"]
    paired = '{"part_ids": ["\\ud83d\\ude00"]}'
    answer = client.post(
        "/v1/uploads/upload_x/complete",
        content=paired,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 404


def integrity_error(database: Database, statement: str) -> IntegrityError:
    with pytest.raises(IntegrityError) as raised, database.transaction() as session:
        session.execute(text(statement))
    return raised.value


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("INSERT INTO projects (id, name, quotas, created_at) {}", 400, "name_taken"),
        ("DELETE FROM projects", 409, "conflict"),
        ("UPDATE projects SET name = NULL", 500, "internal"),
    ],
)
def test_only_what_is_there_already_is_a_taken_name(
    client: TestClient, database: Database, statement: str, status: int, code: str
) -> None:
    twice = "SELECT 'proj_2', name, quotas, created_at FROM projects"
    error = integrity_error(database, statement.format(twice))
    answer = answer_to(
        Request({"type": "http", "method": "GET", "path": "/", "headers": []}), error
    )
    assert answer.status_code == status
    assert json.loads(answer.body)["error"]["code"] == code
