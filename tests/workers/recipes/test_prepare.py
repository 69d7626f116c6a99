"""A file becomes a dataset, or a report that says line by line what is wrong."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.datasets.store import read_info
from core.errors import JobFailure
from core.sql.introspect import introspect_sqlite
from workers.context import LocalContext, Stopped
from workers.recipes import prepare as prepare_recipe
from workers.recipes.prepare import run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
        "INSERT INTO customers VALUES (1, 'Ann', 'Paris'), (2, '李雷', '北京'), (3, 'Bo', 'Oslo');"
    )
    connection.close()
    return path


def pairs(count: int) -> list[dict]:
    """Two wordings for each SQL, every second one Chinese."""
    return [
        {"question": question.format(n), "sql": f"SELECT name FROM customers WHERE id > -{n}"}
        for n in range(count // 2)
        for question in ("Who is above {}?", "谁的编号大于{}?")
    ]


def jsonl(rows: list) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def context(
    tmp_path: Path, data: bytes, name: str = "x.jsonl", *, shop=None, second=None, **params
) -> LocalContext:
    number = len(list(tmp_path.iterdir()))
    path = tmp_path / f"{number}.upload"
    path.write_bytes(data)
    inputs = {"file": path}
    if second is not None:
        inputs["validation_file"] = tmp_path / f"{number}.second"
        inputs["validation_file"].write_bytes(second)
        params["validation_filename"] = "second.jsonl"
    if shop is not None:
        inputs["database"] = shop
        schema = introspect_sqlite(shop).to_dict()
        params["database"] = {"dialect": "sqlite", "schema": schema}
    return LocalContext({"filename": name} | params, inputs, tmp_path / f"{number}.work")


def prepare(tmp_path: Path, data: bytes, name: str = "x.jsonl", **options) -> dict:
    return run(context(tmp_path, data, name, **options))


def errors(result: dict) -> list[tuple]:
    found = result["report"]["problems"]
    return [(one["line"], one["path"], one["code"]) for one in found if one["severity"] == "error"]


def load(ctx: LocalContext):
    from datasets import load_from_disk

    return load_from_disk(str(ctx.out / "dataset"))


def test_pairs_on_a_database_become_a_ready_dataset(tmp_path, shop):
    ctx = context(tmp_path, jsonl(pairs(60)), shop=shop)
    result = run(ctx)
    assert (result["status"], result["kind"]) == ("ready", "sql")
    assert result["splits"] == {"train": 48, "validation": 6, "test": 6}
    assert result["report"]["rows"] == result["report"]["accepted"] == 60
    assert result["report"]["problems"] == []
    figures = result["statistics"]
    expected = {"distinct": 30, "patterns": 1, "hardness": {"easy": 60}, "executed": 30}
    assert figures["sql"] == expected
    assert figures["languages"]["train"] == {"cjk": 24, "other": 24}
    assert figures["columns"] == {"question": "question", "sql": "sql"}
    dataset = load(ctx)
    queries = {name: set(part["answer"]) for name, part in dataset.items()}
    assert not queries["train"] & (queries["test"] | queries["validation"])
    assert dataset["train"]["line"][:] == sorted(dataset["train"]["line"][:])
    info = read_info(ctx.out / "dataset")
    assert (info["kind"], info["dialect"], info["splits"]) == ("sql", "sqlite", result["splits"])
    assert info["schema_text"].startswith("customers(")
    assert info["content_hash"] == result["content_hash"]
    assert sorted(path.name for path in ctx.workdir.iterdir()) == ["out"]


GOOD = b'{"id": 1, "question": "q", "sql": "SELECT 1"}\n'


@pytest.mark.parametrize(
    ("data", "line", "path", "code"),
    [
        (GOOD + b'{"question": "' + b"x" * 1_100_000 + b'"}\n', 2, "$", "row_too_large"),
        (GOOD + b"[" * 100_000, 2, "$" + "[0]" * 13, "too_deep"),
        (GOOD + b'{"question": "q", "sql": NaN}', 2, "$.sql", "not_a_number"),
        (GOOD + b'{"question": "q", "n": [-Infinity]}', 2, "$.n[0]", "not_a_number"),
        (GOOD + b'{"question": "q", "n": 1e400}', 2, "$.n", "number_out_of_range"),
        (GOOD + b'{"question": "\\ud800", "sql": "s"}', 2, "$.question", "lone_surrogate"),
        (GOOD + b'{"question": "a\\u0000", "sql": "s"}', 2, "$.question", "nul_character"),
        (GOOD + b'{"n": ' + b"9" * 5000 + b"}", 2, "$.n", "number_out_of_range"),
        (GOOD + b'{"sql": "a", "sql": "b"}', 2, "$.sql", "duplicate_key"),
        (GOOD + '{"question": "多少"}'.encode("gbk"), 2, "$", "invalid_utf8"),
        (GOOD + b'{"question": "caf\xe9"}', 2, "$", "invalid_utf8"),
        (GOOD + b"\n" + GOOD, 3, "$.id", "duplicate_id"),
        (GOOD + b'{"question": "q"}\r\n', 2, "$.sql", "missing_field"),
        (GOOD + b'{"question": " ", "sql": "SELECT 1"}', 2, "$.question", "empty_field"),
        (GOOD + b'{"question": "q", "sql": 5}', 2, "$.sql", "wrong_type"),
        (GOOD + b'"question"', 2, "$", "not_an_object"),
        (b"", None, None, "no_rows"),
        (b"\xef\xbb\xbf\r\n\r\n", None, None, "no_rows"),
    ],
)
def test_bad_input_has_the_same_verdict_every_time(tmp_path, data, line, path, code):
    ctx = context(tmp_path, data)
    first, second = run(ctx), prepare(tmp_path, data)
    assert first == second
    assert first["status"] == "invalid"
    assert errors(first) == [(line, path, code)]
    assert first["report"]["counts"] == {code: 1}
    assert first["report"]["rejected"] == (line is not None)
    assert list(ctx.out.iterdir()) == []
    json.dumps(first).encode()


def test_utf16_file_that_came_past_the_door_is_invalid(tmp_path):
    result = prepare(tmp_path, jsonl(pairs(2)).decode().encode("utf-16"))
    assert result["status"] == "invalid"
    assert "invalid_utf8" in result["report"]["counts"]


def test_byte_order_mark_and_crlf_make_no_difference(tmp_path):
    data = jsonl(pairs(20))
    dressed = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")
    assert prepare(tmp_path, dressed) == prepare(tmp_path, data)


def test_bad_rows_are_dropped_only_if_asked_and_named_then(tmp_path, shop):
    rows = pairs(40)
    rows[4]["sql"] = "SELECT nam FROM customers"
    rows[9]["question"] = ""
    refused = prepare(tmp_path, jsonl(rows), shop=shop)
    assert refused["status"] == "invalid"
    assert (refused["content_hash"], refused["report"]["dropped_lines"]) == (None, [])
    expected = [(5, "$.sql", "sql_unknown_column"), (10, "$.question", "empty_field")]
    assert errors(refused) == expected
    assert "perhaps customers.name is meant" in refused["report"]["problems"][0]["message"]
    ctx = context(tmp_path, jsonl(rows), shop=shop, drop_bad_rows=True)
    result = run(ctx)
    assert result["status"] == "ready"
    assert errors(result) == expected
    assert result["report"]["dropped_lines"] == [5, 10]
    assert (result["report"]["accepted"], result["report"]["rejected"]) == (38, 2)
    lines = {line for part in load(ctx).values() for line in part["line"][:]}
    assert lines == set(range(1, 41)) - {5, 10}


def test_nothing_left_to_train_on_is_invalid_also_when_bad_rows_are_dropped(tmp_path):
    rows = [{"question": "", "sql": "s"}] * 3
    result = prepare(tmp_path, jsonl(rows), drop_bad_rows=True)
    assert result["status"] == "invalid"
    assert result["report"]["counts"] == {"empty_field": 3, "no_train_rows": 1}
    assert prepare(tmp_path, jsonl(pairs(4)))["report"]["counts"] == {"small_dataset": 1}
    tests = [row | {"split": "test"} for row in pairs(4)]
    assert prepare(tmp_path, jsonl(tests))["report"]["counts"]["no_train_rows"] == 1


def test_given_splits_are_kept_and_what_they_leak_is_counted(tmp_path):
    parts = {"train": pairs(20), "dev": pairs(2), "test": pairs(6)[4:], "unseen_patterns": [
        {"question": "new", "sql": "SELECT COUNT(*) FROM customers"}]}  # fmt: skip
    rows = [row | {"split": name} for name, part in parts.items() for row in part]
    rows[-2] = rows[-2] | {"question": "another wording"}
    result = prepare(tmp_path, jsonl(rows))
    assert result["splits"] == {"train": 20, "validation": 2, "test": 2, "unseen_patterns": 1}
    leaks = result["report"]["leaks"]
    assert leaks["given"] is True
    assert leaks["shared_answers"] == {
        "train/validation": 2, "train/test": 2, "train/unseen_patterns": 0,
    }  # fmt: skip
    assert leaks["shared_questions"]["train/test"] == 1
    assert result["report"]["counts"] == {"shared_answers": 2, "shared_questions": 2}
    assert errors(result) == []


def test_fractions_that_were_asked_for_count_more_than_a_split_column(tmp_path):
    rows = [row | {"split": "nonsense!"} for row in pairs(40)]
    split = {"train": 0.5, "validation": 0, "test": 0.5, "seed": 3}
    assert prepare(tmp_path, jsonl(rows), split=split)["splits"] == {"train": 20, "test": 20}
    assert prepare(tmp_path, jsonl(rows))["report"]["counts"] == {"bad_split": 40}


def test_a_second_file_is_the_validation_split_and_all_others_are_train(tmp_path, shop):
    first, second = pairs(40)[:30], [row | {"id": n} for n, row in enumerate(pairs(40)[30:])]
    first = [row | {"id": n} for n, row in enumerate(first)]
    ctx = context(tmp_path, jsonl(first), shop=shop, second=jsonl(second))
    result = run(ctx)
    assert (result["status"], result["splits"]) == ("ready", {"train": 30, "validation": 10})
    assert result["report"]["problems"] == []
    kept = load(ctx)
    assert kept["validation"]["question"][:] == [row["question"] for row in second]
    assert kept["validation"]["line"][:] == list(range(1, 11))


def test_what_is_wrong_in_the_second_file_names_it(tmp_path, shop):
    bad = pairs(6)
    bad[2]["sql"] = "SELECT nam FROM customers"
    result = prepare(tmp_path, jsonl(pairs(10)), shop=shop, second=jsonl(bad))
    [problem] = [one for one in result["report"]["problems"] if one["severity"] == "error"]
    assert (problem["file"], problem["line"]) == ("validation_file", 3)
    ids = [row | {"id": 5} for row in pairs(2)]
    result = prepare(tmp_path, jsonl(pairs(10)), second=jsonl(ids))
    [again] = [one for one in result["report"]["problems"] if one["severity"] == "error"]
    assert (again["file"], again["line"], again["code"]) == ("validation_file", 2, "duplicate_id")


@pytest.mark.parametrize(
    ("second", "code"),
    [(b"", "no_rows"), (b"{nonsense", "invalid_json"), (b'{"messages": []}\n', "columns")],
)
def test_a_second_file_that_is_none_makes_the_dataset_invalid(tmp_path, second, code):
    result = prepare(tmp_path, jsonl(pairs(10)), second=second)
    assert result["status"] == "invalid"
    assert {(one["file"], one["code"]) for one in result["report"]["problems"]} == {
        ("validation_file", code)
    }


def test_with_the_split_given_what_says_nothing_is_train(tmp_path):
    assert prepare(tmp_path, jsonl(pairs(10)), split="given")["splits"] == {"train": 10}
    rows = [row | {"split": "train" if n else "test"} for n, row in enumerate(pairs(10))]
    assert prepare(tmp_path, jsonl(rows), split="given")["splits"] == {"train": 9, "test": 1}


def test_duplicates_are_kept_once_and_conflicts_told(tmp_path):
    rows = [*pairs(40), pairs(40)[0], pairs(40)[1] | {"sql": "SELECT 2"}]
    result = prepare(tmp_path, jsonl(rows))
    assert sum(result["splits"].values()) == 41
    duplicates = result["report"]["duplicates"]
    assert (duplicates["exact_lines"], duplicates["conflicting_lines"]) == ([[1, 41]], [[2, 42]])
    assert result["report"]["counts"] == {"conflicting_answers": 1, "duplicate_examples": 1}


def test_every_format_gives_the_same_dataset(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pairs(30)
    lines = ['"' + row["question"] + '","' + row["sql"] + '"' for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    files = {
        "x.jsonl": jsonl(rows),
        "x.json": json.dumps(rows, indent=1).encode(),
        "line.json": json.dumps(rows).encode(),
        "x.csv": "\n".join(["question,sql", *lines]).encode(),
        "x.parquet": (tmp_path / "x.parquet").read_bytes(),
    }
    results = [prepare(tmp_path, data, name) for name, data in files.items()]
    assert len({result["content_hash"] for result in results}) == 1
    assert {result["status"] for result in results} == {"ready"}


def test_course_format_in_chinese_is_an_instruction_and_with_a_database_sql(tmp_path, shop):
    rows = [
        {"指令": "把问题写成SQL", "输入": row["question"], "输出": row["sql"]} for row in pairs(30)
    ]
    plain = prepare(tmp_path, jsonl(rows))
    assert (plain["kind"], plain["statistics"]["sql"]) == ("instruction", None)
    ctx = context(tmp_path, jsonl(rows), shop=shop)
    result = run(ctx)
    assert (result["kind"], result["statistics"]["sql"]["executed"]) == ("sql", 15)
    first = load(ctx)["train"][0]
    assert (first["question"], first["answer"][:6]) == ("把问题写成SQL", "SELECT")
    rows[3]["输出"] = "我不知道"
    assert errors(prepare(tmp_path, jsonl(rows), shop=shop)) == [(4, "$.输出", "sql_not_a_query")]


def test_conversations_become_one_example_for_each_answer(tmp_path, shop):
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Answer in SQL."},
                {"role": "user", "content": f"Who is above {n}?"},
                {"role": "assistant", "content": f"SELECT name FROM customers WHERE id > -{n}"},
                {"role": "user", "content": "And how many?"},
                {"role": "assistant", "content": f"SELECT COUNT(*) FROM customers WHERE id > -{n}"},
            ]
        }
        for n in range(20)
    ]
    ctx = context(tmp_path, jsonl(rows), shop=shop)
    result = run(ctx)
    assert (result["kind"], result["report"]["rows"]) == ("chat", 20)
    assert result["splits"] == {"train": 32, "validation": 4, "test": 4}
    dataset = load(ctx)
    lines = [set(part["line"][:]) for part in dataset.values()]
    assert sum(map(len, lines)) == 20, "a conversation is never on both sides"
    assert len(json.loads(dataset["train"][1]["context"])) == 3
    assert read_info(ctx.out / "dataset")["answers"] == "sql"
    rows[2]["messages"][4]["content"] = "SELECT COUNT(*) FROM customer"
    expected = [(3, "$.messages[4].content", "sql_unknown_table")]
    assert errors(prepare(tmp_path, jsonl(rows), shop=shop)) == expected


def test_foreign_dialect_is_kept_translated(tmp_path, shop):
    rows = [
        {"question": f"q{n}", "sql": f"SELECT `name` FROM `customers` WHERE id > -{n} LIMIT 0, 5"}
        for n in range(10)
    ]
    ctx = context(tmp_path, jsonl(rows), shop=shop, sql_dialect="mysql")
    assert run(ctx)["status"] == "ready"
    answers = [answer for part in load(ctx).values() for answer in part["answer"][:]]
    assert all('"name"' in answer and "OFFSET 0" in answer for answer in answers)
    rows[7]["sql"] = "SELECT YEAR(name) FROM customers"
    result = prepare(tmp_path, jsonl(rows), shop=shop, sql_dialect="mysql")
    assert errors(result) == [(8, "$.sql", "sql_runtime")]
    assert result["report"]["counts"]["sql_translation"] == 1


def test_results_that_are_empty_are_counted_not_refused(tmp_path, shop):
    rows = pairs(20)
    rows[0]["sql"] = rows[1]["sql"] = "SELECT name FROM customers WHERE id > 99"
    result = prepare(tmp_path, jsonl(rows), shop=shop)
    assert result["status"] == "ready"
    assert result["report"]["counts"] == {"sql_empty_result": 2}


def test_unclear_columns_end_invalid_with_the_right_mapping(tmp_path):
    rows = [{"nl": "q", "target_code": row["sql"]} for row in pairs(20)]
    result = prepare(tmp_path, jsonl(rows))
    assert result["report"]["counts"] == {"columns": 1}
    message = result["report"]["problems"][0]["message"]
    assert '{"question": "nl", "sql": "target_code"}' in message
    mapping = {"question": "nl", "sql": "target_code"}
    assert prepare(tmp_path, jsonl(rows), mapping=mapping)["status"] == "ready"


def test_parameters_that_make_no_sense_fail_the_job(tmp_path):
    for params in (
        {"mapping": {"query": "x"}},
        {"format": "xlsx"},
        {"sql_dialect": "oracular"},
        {"split": {"train": 0.5}},
        {"split": {"train": 1, "validation": 0, "test": 0}, "second": GOOD},
    ):
        with pytest.raises(JobFailure) as caught:
            prepare(tmp_path, GOOD, **params)
        assert caught.value.klass == "user"


def test_wish_to_stop_is_heard_and_nothing_is_left(tmp_path):
    ctx = context(tmp_path, jsonl(pairs(20)))
    ctx.stop = "cancel"
    with pytest.raises(Stopped):
        run(ctx)
    assert sorted(path.name for path in ctx.workdir.iterdir()) == ["out"]
    assert list(ctx.out.iterdir()) == []


def test_wish_to_stop_is_heard_between_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_recipe, "REPORT_SECONDS", 0)
    ctx = context(tmp_path, jsonl(pairs(2000)))
    send = ctx.send
    ctx.send = lambda **message: (send(**message), setattr(ctx, "stop", "drain"))
    with pytest.raises(Stopped, match="drain"):
        run(ctx)
    assert ctx.of_kind("progress")[-1]["progress"]["rows"] == 1


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    data = jsonl(pairs(20))
    ctx = context(tmp_path, data)
    run(ctx)
    last = ctx.of_kind("progress")[-1]["progress"]
    assert last == {"step": len(data), "total": len(data), "rows": 20}
    assert "16 train" in ctx.of_kind("event")[-1]["event"]["message"]


SCRIPT = """
import json, sys, threading, time
from pathlib import Path
from workers.context import LocalContext
from workers.recipes.prepare import run

peak = 0
def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()

folder, told = Path(sys.argv[1]), []
for name in sys.argv[2:]:
    result = run(LocalContext({"filename": name}, {"file": folder / name}, folder / f"{name}.work"))
    told.append({"hash": result["content_hash"], "splits": result["splits"], "kib": peak})
print(json.dumps({"runs": told, "torch": "torch" in sys.modules}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_nothing_is_written_elsewhere_and_every_process_agrees(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name, rows in (("small.jsonl", 1000), ("large.jsonl", 40_000)):
        with (tmp_path / name).open("w", encoding="utf-8") as out:
            for n in range(rows):
                row = {"prompt": f"总结 {n} " + "x" * 1500, "completion": f"in short: {n:040d}"}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    here = prepare(tmp_path, (tmp_path / "small.jsonl").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "small.jsonl", "large.jsonl"],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "PYTHONHASHSEED": "7", "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    small, large = told["runs"]
    assert small["hash"] == here["content_hash"]
    assert large["splits"] == {"train": 32_000, "validation": 4000, "test": 4000}
    assert large["kib"] - small["kib"] < 40 * 1024  # for 58 MiB more of file
    assert list(home.rglob("*")) == []
    assert told["torch"] is False


def test_geoquery_is_ready_as_it_is(tmp_path):
    folder = os.environ.get("TUNEYARD_DATA_DIR")
    if not folder or not (Path(folder) / "geoquery").is_dir():
        pytest.skip("set TUNEYARD_DATA_DIR to a folder with geoquery/ in it")
    source = Path(folder) / "geoquery"
    data = (source / "examples.jsonl").read_bytes()
    given = prepare(tmp_path, data, shop=source / "db.sqlite")
    assert given["status"] == "ready"
    assert given["splits"] == {"validation": 48, "train": 547, "test": 277}
    assert given["report"]["leaks"]["shared_answers"]["train/test"] > 100
    split = {"train": 0.8, "validation": 0.1, "test": 0.1, "seed": 1}
    own = prepare(tmp_path, data, shop=source / "db.sqlite", split=split)
    assert set(own["report"]["leaks"]["shared_answers"].values()) == {0}
    assert abs(own["splits"]["train"] - 698) < 10
