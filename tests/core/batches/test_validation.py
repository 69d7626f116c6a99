"""The whole file is judged in one pass: every bad line named up to a bound, in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.batches.validation import MOST_ERRORS, MOST_LINES, Verdict, validate
from tests.core.batches.test_lines import ASKED, BODY, CHAT, SQL, line
from tests.platform import ROOT

# In a process of its own: what this one has taken at most is that of other tests.
JUDGED_ALONE = """
import json, resource, sys
from pathlib import Path
from core.batches.validation import validate

def most_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = most_bytes()
found = validate(Path(sys.argv[1]), "/v1/chat/completions")
print(json.dumps({"total": found.total, "errors": found.errors, "grown": most_bytes() - before}))
"""


def judge(folder: Path, *lines: Any, endpoint: str = CHAT) -> Verdict:
    path = folder / "batch.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return validate(path, endpoint)


def test_a_good_file_says_how_much_is_asked_and_of_whom(tmp_path: Path) -> None:
    verdict = judge(tmp_path, line("a"), line("b"))
    assert (verdict.total, verdict.model, verdict.errors) == (2, "tiny", [])
    lines = [line(name, url=SQL, body=ASKED) for name in "ab"]
    verdict = judge(tmp_path, *lines, endpoint=SQL)
    assert (verdict.model, verdict.database, verdict.error_count) == ("tiny", "shop", 0)


def test_every_bad_line_is_named_with_its_number(tmp_path: Path) -> None:
    verdict = judge(
        tmp_path,
        line("a"),
        "broken",
        line("a"),
        line("c", body=BODY | {"model": "other"}),
        line("d", body=BODY | {"stream": True}),
    )
    assert [(one["line"], one["code"], one["param"]) for one in verdict.errors] == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "model_mismatch", "body.model"),
        (5, "streaming_unsupported", "body.stream"),
    ]
    assert all(one["message"] for one in verdict.errors)


def test_a_batch_is_on_one_database(tmp_path: Path) -> None:
    other = ASKED | {"database": "library"}
    lines = line("a", url=SQL, body=ASKED), line("b", url=SQL, body=other)
    verdict = judge(tmp_path, *lines, endpoint=SQL)
    assert [one["code"] for one in verdict.errors] == ["database_mismatch"]
    assert "shop" in verdict.errors[0]["message"]


def test_what_is_named_is_bounded_and_what_is_counted_is_not(tmp_path: Path) -> None:
    verdict = judge(tmp_path, *["broken"] * (MOST_ERRORS + 50))
    assert (len(verdict.errors), verdict.error_count) == (MOST_ERRORS, MOST_ERRORS + 50)


def test_messages_and_names_of_fields_are_cut_short(tmp_path: Path) -> None:
    long = "x" * 5000
    verdict = judge(tmp_path, line("a", url=long), line("b") | {long: 1})
    assert all(len(one["message"]) <= 400 for one in verdict.errors)
    assert all(len(one["param"]) <= 200 for one in verdict.errors)


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_file_is_named_as_such(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(text)
    assert [one["code"] for one in validate(path, CHAT).errors] == ["empty_file"]


def test_50_000_lines_are_judged_in_little_memory_and_one_more_is_too_many(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    body = json.dumps(line(body=BODY | {"messages": [{"role": "user", "content": "客户 " * 60}]}))
    with path.open("w", encoding="utf-8") as file:
        for number in range(MOST_LINES):
            file.write(body.replace('"a"', f'"request-{number}"', 1) + "\n")
        file.write(body + "\n")
    asked = [sys.executable, "-c", JUDGED_ALONE, str(path)]
    told = json.loads(subprocess.run(asked, check=True, capture_output=True, cwd=ROOT).stdout)
    assert told["total"] == MOST_LINES
    assert [one["code"] for one in told["errors"]] == ["too_many_lines"]
    assert told["errors"][0]["line"] == MOST_LINES + 1
    assert told["grown"] < 24_000_000 < path.stat().st_size / 1.5, f"{told['grown']:,} bytes"
