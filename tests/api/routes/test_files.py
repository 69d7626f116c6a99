import pytest
from fastapi.testclient import TestClient


def upload(client: TestClient, content: bytes, **fields: str):
    return client.post("/v1/files", files={"file": ("问题.jsonl", content)}, data=fields)


def test_a_file_is_kept_and_shown(client: TestClient) -> None:
    line = '{"question": "有多少客户？"}\n'.encode()
    made = upload(client, line, purpose="batch")
    assert made.status_code == 200, made.text
    file = made.json()
    assert (file["filename"], file["bytes"], file["purpose"]) == ("问题.jsonl", len(line), "batch")
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert [one["id"] for one in client.get("/v1/files").json()["data"]] == [file["id"]]


@pytest.mark.parametrize("fields", [{}, {"purpose": "nonsense"}])
def test_a_file_wants_a_purpose_and_the_answer_names_the_right_ones(
    client: TestClient, fields: dict[str, str]
) -> None:
    answer = upload(client, b'{"question": "?"}\n', **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "purpose"
    assert "batch" in error["message"]
    assert client.get("/v1/files").json()["data"] == []
