"""Lines of a log: what they belong to stands in each, and no secret in any."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from core import logs
from core.security import new_key


@pytest.fixture
def lines() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own, and what it has written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    log = logging.getLogger("tests.logs")
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.INFO)
    yield log, written
    log.removeHandler(handler)


def test_json_is_an_object_a_line_with_all_that_the_line_belongs_to(lines) -> None:
    log, written = lines
    log.handlers[0].setFormatter(logs.JsonFormatter())
    with logs.logged(request_id="req_1"):
        logs.note(project="proj_1")
        log.info("GET %s", "/v1/作业", extra={"data": {"status": 200, "path": "/v1/作业"}})
        with logs.logged(job="job_1", attempt=2):
            log.warning("two\nlines")
    log.info("outside")
    first, second, third = map(json.loads, written.getvalue().splitlines())
    assert (first["request_id"], first["project"]) == ("req_1", "proj_1")
    assert first["message"] == "GET /v1/作业"
    assert first["data"] == {"status": 200, "path": "/v1/作业"}
    assert (second["job"], second["attempt"], second["level"]) == ("job_1", 2, "warning")
    assert third.keys() == {"time", "level", "logger", "pid", "message"}
    assert third["time"].endswith("+00:00")


def test_text_is_for_people(lines) -> None:
    log, written = lines
    log.handlers[0].setFormatter(logs.TextFormatter())
    with logs.logged(request_id="req_1", project="proj_1"):
        log.info("within")
    log.info("outside")
    within, outside = written.getvalue().splitlines()
    assert within.endswith("INFO tests.logs [req_1 proj_1] within")
    assert outside.endswith("INFO tests.logs outside")


@pytest.mark.parametrize("formatter", [logs.JsonFormatter, logs.TextFormatter])
def test_no_secret_stands_in_a_line_its_data_or_its_traceback(lines, formatter) -> None:
    log, written = lines
    log.handlers[0].setFormatter(formatter())
    key = new_key().secret
    try:
        try:
            raise ValueError(f"postgresql://u:canary@h/d refused {key}")
        except ValueError as error:
            raise RuntimeError("no connection") from error
    except RuntimeError:
        log.exception("it broke for %s", key, extra={"data": {"path": f"/v1/{key}"}})
    text = written.getvalue()
    assert "no connection" in text and "ValueError" in text
    assert key not in text and "canary" not in text
