"""The code and the field that a question without an answer is refused with."""

from core.chat.unanswered import code_and_field


def test_a_prompt_is_at_fault_or_the_model():
    assert code_and_field("prompt_too_long", "question") == ("context_length_exceeded", "question")
    assert code_and_field("not_finite", "messages") == ("model_not_finite", "model")
