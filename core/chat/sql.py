"""What a request for SQL may say: one question on one database. Knows no model, no HTTP.

One shape for `POST /v1/sql` and for a line of a batch.
"""

from pydantic import ConfigDict, Field

from core.chat.fields import Text
from core.closed import Closed

DEFAULT_TOKENS = 256
MOST_TOKENS = 4096
MOST_ROWS = 1000


class SqlRequest(Closed):
    """`rows`: so many rows of the result come with the answer; 0, and it has none."""

    model_config = ConfigDict(protected_namespaces=())

    model: Text = Field(min_length=1, max_length=400)
    database: Text = Field(min_length=1, max_length=400)
    question: Text = Field(min_length=1, max_length=20_000)
    max_tokens: int = Field(DEFAULT_TOKENS, ge=1, le=MOST_TOKENS)
    rows: int = Field(0, ge=0, le=MOST_ROWS)
