"""Reads what a runner printed since the last look. Knows nothing of jobs."""

import codecs
from pathlib import Path

MAX_READ = 64 * 1024


class LogTail:
    """Bounded reads of a growing UTF-8 file; `sequence` numbers the pieces that were written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sequence = 0
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """What is new. Of a burst only the end, and how much was left out before it."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as stream:
            size = stream.seek(0, 2)
            left_out = max(0, size - self._offset - MAX_READ)
            stream.seek(self._offset + left_out)
            data = stream.read(MAX_READ)
        self._offset += left_out + len(data)
        text = self._decoder.decode(data)
        return f"[… {left_out} bytes left out]\n{text}" if left_out else text
