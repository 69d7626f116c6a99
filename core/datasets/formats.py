"""Which of the four file formats a dataset file has, by its first bytes and its name."""

import re
from pathlib import PurePath

from core.errors import InvalidInput

FORMATS = ("jsonl", "json", "csv", "parquet")
LINE_FORMATS = ("jsonl", "csv")
HEAD_BYTES = 4096  # as much of a file as detection looks at
UTF8_BOM = b"\xef\xbb\xbf"
PARQUET_MAGIC = b"PAR1"
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_ARRAY_OF_OBJECTS = re.compile(rb"\[\s*[{\]]")


def check_format(asked: str) -> None:
    """Raises `InvalidInput` for a format that is none of ours."""
    if asked != "auto" and asked not in FORMATS:
        raise InvalidInput(
            f"format {asked!r} is unknown; use auto, {', '.join(FORMATS)}", param="format"
        )


def detect_format(filename: str, head: bytes, *, asked: str = "auto") -> str:
    """One of `FORMATS`. `head`: the first `HEAD_BYTES` of the file, or all of a shorter one.

    Content counts before the name: a JSON array named `.jsonl` is read as JSON, JSON Lines named
    `.json` as JSON Lines. Raises `InvalidInput` where neither tells.
    """
    check_format(asked)
    if asked != "auto":
        return asked
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    named = _BY_SUFFIX.get(PurePath(filename).suffix.lower())
    text = head.removeprefix(UTF8_BOM).lstrip()
    found = _by_content(text, named)
    if found is None:
        raise InvalidInput(
            f"the format of {filename!r} can't be told from its name or content; "
            f"say which it is: {', '.join(FORMATS)}",
            code="unknown_format",
            param="format",
        )
    return found


def _by_content(text: bytes, named: str | None) -> str | None:
    if named == "csv":
        return "csv"
    if _ARRAY_OF_OBJECTS.match(text):
        return "json"
    if text.startswith(b"{"):
        first, _, rest = text.partition(b"\n")
        # The first line of a pretty-printed JSON file is an object that is still open.
        whole = first.rstrip().endswith(b"}") or not rest
        return "jsonl" if whole or named == "jsonl" else "json"
    if named in ("json", "jsonl"):
        return named
    header = text.partition(b"\n")[0]
    return "csv" if any(mark in header for mark in (b",", b";", b"\t")) else None
