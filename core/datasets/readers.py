"""Opens a dataset file as a stream of rows. Knows neither columns' meaning nor SQL."""

from pathlib import Path

from core.datasets.formats import FORMATS, HEAD_BYTES, detect_format
from core.datasets.jsonfiles import JsonArray, JsonLines
from core.datasets.rows import MAX_ROW_BYTES, RowSource
from core.datasets.tables import CsvRows, ParquetRows

_READERS = dict(zip(FORMATS, (JsonLines, JsonArray, CsvRows, ParquetRows), strict=True))


def open_rows(
    path: Path, *, filename: str, format: str = "auto", max_row_bytes: int = MAX_ROW_BYTES
) -> RowSource:
    """The rows of a file, in order. Raises `InvalidInput` if its format can't be told.

    A row that can't be read is a `Row` with a problem; reading goes on behind it.
    """
    with path.open("rb") as stream:
        found = detect_format(filename, stream.read(HEAD_BYTES), asked=format)
    return _READERS[found](path, max_row_bytes=max_row_bytes)
