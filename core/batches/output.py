"""The lines of a batch's output and error files. Knows no file and no database."""

from typing import Any

from core.ids import new_id

OutputLine = dict[str, Any]


def answered(custom_id: str, body: dict[str, Any], *, status_code: int = 200) -> OutputLine:
    """What the endpoint answers to a line: its object, or with another status its error."""
    response = {"status_code": status_code, "request_id": new_id("req"), "body": body}
    return _line(custom_id, response, None)


def refused(custom_id: str | None, message: str, *, code: str, param: str | None) -> OutputLine:
    """The endpoint's answer to a line that can't be asked."""
    error = {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }
    return answered(custom_id, {"error": error}, status_code=400)


def unasked(custom_id: str | None, code: str, message: str) -> OutputLine:
    """A line that the endpoint never came to."""
    return _line(custom_id, None, {"code": code, "message": message})


def is_answer(line: OutputLine) -> bool:
    """Whether it belongs to the output file, not to that of errors."""
    return line["response"] is not None and line["response"]["status_code"] == 200


def tokens_of(line: OutputLine) -> tuple[int, int]:
    """Prompt and completion tokens that it took."""
    usage = line["response"]["body"].get("usage") if is_answer(line) else None
    return (usage["prompt_tokens"], usage["completion_tokens"]) if usage else (0, 0)


def _line(custom_id: str | None, response: Any, error: Any) -> OutputLine:
    return {
        "id": new_id("batch_req"),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
