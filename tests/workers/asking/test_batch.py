"""A batch of any size goes through in little memory, and each line has its row."""

import json
import tracemalloc
from pathlib import Path

import pytest

from core.training.prompts import PromptTemplate
from tests.core.batches.test_lines import BODY, line
from tests.tiny_model import build_tiny_tokenizer
from workers.asking.batch import Batch
from workers.asking.form import count_lines
from workers.asking.lines import ChatLines
from workers.asking.questions import Questions
from workers.asking.spool import Spool
from workers.context import LocalContext
from workers.ml.generation import NOT_FINITE, Completion, Request, refusal
from workers.ml.sampling import Sampling

LINES = 1500
IN_FLIGHT = 50


def completion(request: Request, text: str, *, index: int = 0) -> Completion:
    return Completion(request.id, [1], text, 5, 1, 0.1, "stop", index=index)


def questions(folder: Path, count: int) -> Path:
    path = folder / "questions.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = {"id": f"问-{number}", "question": f"How many shops are in city {number}?"}
            file.write(json.dumps(asked, ensure_ascii=False) + "\n")
    return path


@pytest.fixture(scope="module")
def tokenizer():
    return build_tiny_tokenizer()


def test_a_spool_gives_rows_back_in_order_and_a_later_row_of_a_number_wins(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for index in (5, 0, 3):
        spool.add(index, {"行": index})
    spool.add(3, {"行": "later", "odd": "\ud800"})
    spool.write(tmp_path / "out.jsonl")
    rows = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["行"] for row in rows] == [0, "later", 5]
    assert not (tmp_path / "spool").exists()


def test_many_questions_take_little_memory(tmp_path: Path, tokenizer) -> None:
    """Answered as the engine does: so many in flight, and the last of them first."""
    path = questions(tmp_path, LINES)
    ctx = LocalContext({}, {"questions": path}, tmp_path / "work")
    ctx.send = lambda **message: None  # a LocalContext keeps what is said
    form = Questions(tokenizer, PromptTemplate("bare"), Sampling(), None)
    spool = Spool(tmp_path / "spool")
    batch = Batch(ctx, form, count_lines(path), spool=spool)
    tracemalloc.start()
    try:
        waiting: list[Request] = []
        for request in batch.requests():
            waiting.append(request)
            if len(waiting) == IN_FLIGHT:
                batch.take(completion(waiting.pop(), "SELECT 1"))
        while waiting:
            batch.take(completion(waiting.pop(), "SELECT 1"))
        spool.write(tmp_path / "results.jsonl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000, f"{peak:,} bytes"
    with (tmp_path / "results.jsonl").open(encoding="utf-8") as results:
        assert [json.loads(row)["id"] for row in results] == [f"问-{n}" for n in range(LINES)]
    assert form.summary()["rows"] == LINES


def test_a_line_of_several_answers_fails_as_one_where_one_of_them_does(
    tmp_path: Path, tokenizer
) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(line("a", body=BODY | {"n": 3})), encoding="utf-8")
    ctx = LocalContext({}, {"questions": path}, tmp_path / "work")
    batch = Batch(ctx, ChatLines(tokenizer, PromptTemplate("chat"), model="tiny"), 1, spool=None)
    [request] = batch.requests()
    batch.take(completion(request, "first"))
    batch.take(refusal(request, NOT_FINITE))
    error = ctx.rows[0]["response"]["body"]["error"]
    assert (error["code"], error["param"]) == ("model_not_finite", "model")


def test_a_line_has_its_row_when_all_of_its_answers_are_there(tmp_path: Path, tokenizer) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(line("a", body=BODY | {"n": 2})) + "\nbroken\n", encoding="utf-8")
    ctx = LocalContext({}, {"questions": path}, tmp_path / "work")
    batch = Batch(ctx, ChatLines(tokenizer, PromptTemplate("chat"), model="tiny"), 2, spool=None)
    [request] = batch.requests()
    assert request.sampling.n == 2
    batch.take(completion(request, "second", index=1))
    assert list(ctx.rows) == [1], "the broken line's alone"
    batch.take(completion(request, "first"))
    body = ctx.rows[0]["response"]["body"]
    assert [one["message"]["content"] for one in body["choices"]] == ["first", "second"]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (5, 2)
    assert ctx.rows[1]["response"]["body"]["error"]["code"] == "invalid_json_line"
    batch.report(1.0)
    [said] = ctx.of_kind("progress")
    assert (said["progress"]["step"], said["progress"]["failed"]) == (2, 1)
