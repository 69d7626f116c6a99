"""Which values of a column a schema shows, and what finding them may cost. Knows no database."""

from collections.abc import Sequence

SAMPLES, SAMPLES_OF_CODES, SAMPLE_LENGTH = 3, 8, 30
SAMPLED_ROWS = 100_000  # the first ones, so that the cost doesn't grow with the table
LOOKED_AT = 20  # values that are fetched
PATIENCE = 60.0  # seconds in all for counting and sampling; what is left then has none


def chosen(values: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Of the most frequent values of a column three short ones at most, unless the column holds but
    a few: then all of them, and True (these are codes, which a query must spell exactly)."""
    short = tuple(v for v in values if len(v) <= SAMPLE_LENGTH and v.isprintable())
    codes = len(values) <= SAMPLES_OF_CODES and short == tuple(values)
    return short if codes else short[:SAMPLES], codes and bool(short)
