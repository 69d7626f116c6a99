"""The report is bounded, counts all, and can be stored anywhere."""

import json

from core.datasets.problems import Problem, Report, clean, shown, step, type_name


def test_report_lists_the_first_and_counts_all():
    report = Report()
    report.rows = 1000
    for line in range(1, 501):
        report.add(Problem("empty_field", "x" * 5000, line, "$.sql"))
        report.reject(line)
        report.add(Problem("sql_empty_result", "nothing", line, "$.sql", "warning"))
    told = report.to_dict(dropped=True)
    assert (told["rows"], told["accepted"], told["rejected"]) == (1000, 500, 500)
    assert told["counts"] == {"empty_field": 500, "sql_empty_result": 500}
    assert told["truncated"] is True
    errors = [one for one in told["problems"] if one["severity"] == "error"]
    assert len(errors) == 200 and len(told["problems"]) == 220
    assert errors[0] | {"message": ""} == {
        "line": 1, "path": "$.sql", "code": "empty_field", "message": "", "severity": "error",
    }  # fmt: skip
    assert told["dropped_lines"] == list(range(1, 501))
    assert len(json.dumps(told)) < 200_000


def test_problems_of_the_file_stand_first_and_have_no_path():
    report = Report()
    report.add(Problem("empty_field", "empty", 3, "$.sql"))
    report.add(Problem("no_train_rows", "none"))
    told = report.to_dict(dropped=False)
    assert [one["line"] for one in told["problems"]] == [None, 3]
    assert told["problems"][0]["path"] is None
    assert told["truncated"] is False
    assert told["dropped_lines"] == []


def test_warnings_are_no_errors():
    report = Report()
    report.add(Problem("sql_empty_result", "nothing", 1, "$.sql", "warning"))
    assert not report.has_errors
    report.add(Problem("empty_field", "empty", 1, "$.sql"))
    assert report.has_errors


def test_texts_of_a_report_can_be_stored_anywhere():
    assert clean("a\x00b\ud800c\x1b", limit=50) == "a\\u0000b\\ud800c\\u001b"
    assert clean("x" * 100, limit=10) == "x" * 9 + "…"
    shown("\ud800" * 100).encode()
    assert shown({"问": [1, None]}) == '{"问": [1, null]}'
    assert len(shown("x" * 10**6)) <= 60


def test_words_and_paths_are_those_of_json():
    values = (None, True, 1, 1.5, "x", [], {})
    assert [type_name(value) for value in values] == [
        "null", "a boolean", "a number", "a number", "a string", "a list", "an object",
    ]  # fmt: skip
    assert step(step(step("$", "messages"), 1), "a b") == '$.messages[1]["a b"]'
