"""Reads what a runner printed since the last look. Knows nothing of jobs."""

import codecs
from pathlib import Path

MAX_READ = 64 * 1024


class LogTail:
    """Bounded reads of a growing UTF-8 file; `sequence` numbers the pieces that were kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sequence = 0
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """What is new. Of a burst only the beginning and how much was left out."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read(MAX_READ)
            size = stream.seek(0, 2)
        left_out = size - self._offset - len(data)
        self._offset = size
        text = self._decoder.decode(data)
        return f"{text}\n[… {left_out} bytes left out]\n" if left_out else text
