"""How answers in 8 bit are judged: right, invalid, equal to another way's."""

import json
import sqlite3

import pytest

from benchmarks.quantised.__main__ import PEER, WAYS, judged
from benchmarks.quantised.material import prepare
from tests.tiny_model import build_tiny_model
from workers.ml.loading import load_base


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(folder / "db.sqlite") as database:
        database.execute("CREATE TABLE 客户 (编号 INTEGER)")
        database.execute("INSERT INTO 客户 VALUES (3)")
    rows = [
        {"question": f"{n} 个客户？", "sql": f"SELECT {n}, 编号 FROM 客户", "split": split}
        for n, split in enumerate(["train", "test", "test", "test"])
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "examples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_each_way_is_judged_on_what_it_was_asked_and_compared_on_what_both_were(tmp_path, data):
    model = build_tiny_model(tmp_path / "model")
    tokenizer = load_base(model, precision="fp32").tokenizer
    questions = prepare(model, data, tmp_path)
    assert len(questions.gold) == len(questions.prompts.read_text().splitlines()) == 3

    def say(name, *texts):
        lines = [json.dumps([n, tokenizer(text).input_ids]) for n, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    for name in (*WAYS, PEER):
        say(name, *questions.gold[:2])
    say("dequantised", questions.gold[0], "SELECT 1", "SELECT nothing")
    found = judged(data, model, questions, tmp_path)
    one = found["dequantised"]
    assert (one["asked"], one["right"], one["invalid"]) == (3, 1, 1)
    assert one["equal"][PEER] == {"equal": 1, "of": 2}
    assert (found[PEER]["asked"], found[PEER]["right"]) == (2, 2)
