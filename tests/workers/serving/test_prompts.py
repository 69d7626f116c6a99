"""Who shares what was answered of late: only those that ask the same adapter or trained model."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from core.serving.wire import Chat, Request, Sql
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_model
from workers.ml.shelf import AtHand
from workers.serving.prompts import Prompts

ASKED = (
    Request(Chat([{"role": "user", "content": "How many orders?"}]), max_tokens=3),
    Request(Sql("How many orders?", schema_text="orders(id)"), max_tokens=3),
)


@pytest.fixture
def base(tmp_path) -> Path:
    return build_tiny_model(tmp_path / "base")


def heard(folder: Path, *at_hand: AtHand):
    """Of each request, asked of the model in `folder` or of an adapter."""
    prompts = Prompts(AutoTokenizer.from_pretrained(folder), folder)
    return [
        prompts.for_engine("one", asked, "name" if at_hand else None, *at_hand or (None,)).heard
        for asked in ASKED
    ]


def test_a_base_model_which_answers_every_project_remembers_nothing(base):
    assert heard(base) == [None, None]


def test_a_trained_model_remembers_what_it_answered(base):
    PromptTemplate("bare", None, "sqlite").save(base)
    first, second = heard(base)
    assert first is second is not None


def test_adapters_on_one_model_remember_apart(base, tmp_path):
    one, other = AtHand(tmp_path), AtHand(tmp_path)
    assert one.heard is not other.heard
    for adapter in (one, other):
        assert all(kept is adapter.heard for kept in heard(base, adapter))
