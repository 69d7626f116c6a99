import pytest

from core.errors import JobFailure
from core.training.examples import encode_rows
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_tokenizer


def rows(*answers):
    return [{"line": i, "question": "q", "answer": a} for i, a in enumerate(answers, start=5)]


def encode(rows, **options):
    return encode_rows(rows, build_tiny_tokenizer(), PromptTemplate("chat"), **options)


def test_rows_that_are_too_long_are_named_by_their_line():
    with pytest.raises(JobFailure) as refused:
        encode(rows("x", "y" * 300), max_length=100, truncate=False)
    assert refused.value.klass == "data"
    assert "line 6" in refused.value.message and "line 5" not in refused.value.message


def test_a_long_row_is_cut_at_its_end_if_asked():
    (whole,) = encode(rows("y" * 300), max_length=1000, truncate=False)
    (cut,) = encode(rows("y" * 300), max_length=100, truncate=True)
    assert len(cut) == 100 and cut.prompt_ids == whole.prompt_ids
    assert cut.completion_ids == whole.completion_ids[: len(cut.completion_ids)]


def test_a_row_whose_prompt_alone_is_too_long_can_not_be_cut():
    with pytest.raises(JobFailure, match="line 5"):
        encode(rows("x"), max_length=8, truncate=True)
