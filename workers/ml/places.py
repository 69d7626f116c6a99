"""The places that an engine's rows stand in: as many and as long as the rows need and memory has
room for. Knows rows' lengths; neither their tokens nor a model's layers.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedConfig

from workers.ml.cache import RowCache, bytes_per_position, logit_bytes, rows_that_fit
from workers.ml.rows import Row

# Places in use become longer by so many positions at a time.
STRIDE = 128


class Places:
    """`cache` is what they are made of. `most` caps them; memory caps them too."""

    def __init__(
        self, config: PreTrainedConfig, dtype: torch.dtype, device: str, *, most: int | None
    ) -> None:
        self.most = most
        self.cache = RowCache(rows=0, length=0)
        self._config, self._dtype, self._device = config, dtype, device

    def clear(self) -> None:
        """Gives back what they take; nothing may stand in them."""
        self.cache = RowCache(rows=0, length=0)

    def lay_out(self, waiting: Sequence[Row]) -> None:
        """Places for what waits, while none is in use."""
        length = max(row.length for row in waiting)
        count = min(self._that_fit(length), len(waiting))
        if self.cache.length < length or self.cache.rows < count:
            self.cache = RowCache(rows=count, length=length)

    def extend(self, rows: Sequence[Row], waiting: Sequence[Row]) -> int:
        """More or longer places for what waits, beside those that `rows` use, if memory has room;
        the bytes that were copied. In large strides: with requests that come one by one the others
        are not copied each time."""
        held, used = self.cache, len(rows)
        wanted, length = used + len(waiting), max(row.length for row in waiting)
        length = held.length if length <= held.length else -(-length // STRIDE) * STRIDE
        count = wanted if wanted <= held.rows else max(wanted, 2 * held.rows)
        count = min(self._that_fit(length), count)
        if used >= count or (held.length >= length and held.rows >= count):
            return 0
        filled = max(row.fill for row in rows)
        return held.grow(rows=count, length=length, used=used, filled=filled)

    def _that_fit(self, length: int) -> int:
        row_bytes = length * bytes_per_position(self._config, self._dtype)
        row_bytes += logit_bytes(self._config)
        count = rows_that_fit(row_bytes, self._device, held=self.cache.nbytes)
        return min(count, self.most or count)
