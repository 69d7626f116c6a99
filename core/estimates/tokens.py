"""How many tokens a training would see, counted as the training counts them where that can be had.

    counted     rendered and tokenised here, by the base model's own files; of a large dataset an
                even sample (`sampled`)
    measured    an earlier training on the same data, base and prompt has counted them
    statistics  the dataset was prepared with this base model's tokenizer; without the template
    unknown     this machine has not the model's tokenizer, and nobody counted before

Knows no worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.basemodels.models import BaseModel
from core.basemodels.store import ModelStore
from core.basemodels.tokenizer import FileTokenizer, load_tokenizer
from core.datasets.models import Dataset
from core.datasets.store import read_examples
from core.errors import InvalidInput, JobFailure, TuneyardError
from core.estimates.measured import Measured
from core.settings import get_settings
from core.storage import get_storage
from core.training.examples import Example, common_prefix, encode_rows, families
from core.training.hyperparameters import TrainSettings
from core.training.prompts import PromptTemplate

COUNTED_ROWS = 2000
"""So many take about a second."""
BLOCKS = 20
"""Of a larger dataset so many runs of rows are counted, evenly spread."""


@dataclass(frozen=True)
class TokenCount:
    """Tokens of the train split, once through. `examples` are those that were counted, which stand
    for `rows`; without them what a group shares is not known."""

    basis: str
    rows: int
    per_epoch: int
    examples: Sequence[Example] = ()
    computed: int | None = None
    """What an earlier training computed in an epoch, if that is what is known."""

    def computed_per_epoch(self, micro_batch: int, *, share_prefix: bool) -> int:
        """Tokens that go through the layers in an epoch: what the examples of a group begin with
        is computed once for the group."""
        if not self.examples or not share_prefix:
            return self.computed or self.per_epoch
        saved = sum((n - -(-n // micro_batch)) * prefix for n, prefix in self._shared)
        return self.per_epoch - round(saved * self.rows / len(self.examples))

    @cached_property
    def _shared(self) -> list[tuple[int, int]]:
        """Of each family its examples and the length of what they begin with."""
        return [(len(one), common_prefix(one)) for one in families(self.examples)]

    @property
    def longest(self) -> int | None:
        return max(map(len, self.examples), default=None)


def count(
    base: BaseModel,
    dataset: Dataset,
    settings: TrainSettings,
    template: PromptTemplate,
) -> TokenCount | None:
    """Counted here, or None where the model's tokenizer is not to be had. Rows that a training
    would refuse are refused, with its words."""
    tokenizer = _tokenizer(base.name)
    if tokenizer is None:
        return None
    rows = _sample(dataset)
    try:
        examples = encode_rows(
            rows,
            tokenizer,
            template,
            max_length=settings.max_length,
            model_takes=base.context_length,
            truncate=settings.long_rows == "truncate",
        )
    except JobFailure as error:
        raise InvalidInput(error.message, param="dataset", code="rows_refused") from None
    total = dataset.splits["train"]
    tokens = sum(map(len, examples))
    return TokenCount(
        basis="counted" if len(rows) == total else "sampled",
        rows=total,
        per_epoch=round(tokens * total / len(rows)),
        examples=examples,
    )


def counted_before(
    known: Sequence[Measured],
    base: BaseModel,
    dataset: Dataset,
    settings: TrainSettings,
    template: PromptTemplate,
) -> TokenCount | None:
    """As an earlier training on the same data has counted them."""
    wanted = (base.name, template.style, settings.max_length, dataset.splits["train"])
    for one in known:
        if one.asked_with == wanted and one.learned(dataset):
            return TokenCount(
                "measured",
                rows=dataset.splits["train"],
                per_epoch=one.result["train_tokens"],
                computed=one.computed_per_epoch,
            )
    return None


def from_statistics(
    base: BaseModel, dataset: Dataset, template: PromptTemplate, *, model: str | None
) -> TokenCount | None:
    """Of what the prepare job counted, if it did so with this base model's tokenizer."""
    lengths = (dataset.statistics or {}).get("lengths") or {}
    if lengths.get("unit") != "tokens" or model != base.name:
        return None
    part = "prompt" if template.style in ("schema", "chat") else "example"
    if part not in lengths:
        return None
    total = dataset.splits["train"]
    return TokenCount("statistics", rows=total, per_epoch=total * lengths[part]["median"])


def _tokenizer(name: str) -> FileTokenizer | None:
    try:
        return load_tokenizer(ModelStore(get_settings().model_dir).path(name))
    except (ImportError, OSError, KeyError, ValueError, TuneyardError):
        return None


def _sample(dataset: Dataset) -> list[dict[str, Any]]:
    """All rows of `train`, or COUNTED_ROWS of them."""
    folder = folder_of(dataset)
    total = dataset.splits["train"]
    if total <= COUNTED_ROWS:
        return read_examples(folder, "train", limit=total)
    size = COUNTED_ROWS // BLOCKS
    starts = [block * (total - size) // (BLOCKS - 1) for block in range(BLOCKS)]
    return [
        row for start in starts for row in read_examples(folder, "train", start=start, limit=size)
    ]


def folder_of(dataset: Dataset) -> Path:
    """Where its prepared rows are, on this machine."""
    cached = get_settings().data_dir / "cache" / dataset.id
    return get_storage().fetch(dataset.storage_key, cached)
