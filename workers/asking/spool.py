"""Rows on disk, taken as they come and given back in order. Knows nothing of what is in them."""

import json
from pathlib import Path
from typing import Any


class Spool:
    """In memory there is only where each row lies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._places: dict[int, int] = {}

    def add(self, index: int, row: dict[str, Any]) -> None:
        """Keep a row; one that has the number of an earlier one takes its place."""
        self._places[index] = self._file.seek(0, 2)
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def write(self, target: Path) -> None:
        """All rows by their numbers, one JSON object a line; the spool is used up."""
        with target.open("wb") as out:
            for index in sorted(self._places):
                self._file.seek(self._places[index])
                out.write(self._file.readline())
        self._file.close()
        self._path.unlink()
