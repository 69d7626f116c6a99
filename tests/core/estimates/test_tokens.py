"""A large dataset is counted by an even sample of it."""

from pathlib import Path

import pytest

from core.basemodels.models import BaseModel
from core.datasets.models import Dataset
from core.estimates import tokens
from core.estimates.tokens import TokenCount, from_statistics
from core.training.examples import Example
from core.training.hyperparameters import TrainSettings
from core.training.prompts import PromptTemplate
from tests.platform import environment
from tests.tiny_model import build_tiny_dataset, build_tiny_tokenizer

BASE = BaseModel(name="tiny", parameters=1, context_length=4096)


@pytest.fixture
def long_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """60 rows that grow longer and longer, of which 20 are counted in 5 runs."""
    rows = [{"question": "多少" * n, "answer": f"SELECT {n}"} for n in range(1, 61)]
    monkeypatch.setattr(tokens, "COUNTED_ROWS", 20)
    monkeypatch.setattr(tokens, "BLOCKS", 5)
    with environment(data_dir=str(tmp_path)):
        build_tiny_dataset(tmp_path / "storage" / "d", rows)
        yield Dataset(id="ds_1", storage_key="d", splits={"train": 60})


def test_a_sample_is_even_and_stands_for_the_whole(
    long_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = build_tiny_tokenizer()
    monkeypatch.setattr(tokens, "_tokenizer", lambda name: tokenizer)
    found = tokens.count(BASE, long_dataset, TrainSettings(), PromptTemplate("bare"))
    assert (found.basis, found.rows, len(found.examples)) == ("sampled", 60, 20)
    monkeypatch.setattr(tokens, "COUNTED_ROWS", 60)
    whole = tokens.count(BASE, long_dataset, TrainSettings(), PromptTemplate("bare"))
    assert whole.basis == "counted"
    assert found.per_epoch == pytest.approx(whole.per_epoch, rel=0.05)


def test_what_a_group_shares_is_computed_once() -> None:
    examples = [Example(n, [7] * 100 + [n + 10], [1, 2]) for n in range(8)]
    count = TokenCount("counted", rows=8, per_epoch=8 * 103, examples=examples)
    assert count.computed_per_epoch(1, share_prefix=True) == 8 * 103
    assert count.computed_per_epoch(4, share_prefix=True) == 2 * 100 + 8 * 3
    assert count.computed_per_epoch(4, share_prefix=False) == 8 * 103


def test_statistics_count_for_the_model_of_which_they_are() -> None:
    lengths = {"unit": "tokens", "prompt": {"median": 90}, "example": {"median": 30}}
    dataset = Dataset(splits={"train": 10}, statistics={"lengths": lengths})
    bare, chat = PromptTemplate("bare"), PromptTemplate("chat")
    assert from_statistics(BASE, dataset, bare, model="tiny").per_epoch == 300
    assert from_statistics(BASE, dataset, chat, model="tiny").per_epoch == 900
    assert from_statistics(BASE, dataset, bare, model="other") is None
    dataset.statistics = {"lengths": lengths | {"unit": "characters"}}
    assert from_statistics(BASE, dataset, bare, model="tiny") is None
