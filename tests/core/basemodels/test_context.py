import pytest

from core.basemodels.context import context_length


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "longrope", "original_max_position_embeddings": 128}, 128),
        ({"type": "longrope"}, 256),  # older files have it beside
        ({"rope_type": "llama3", "original_max_position_embeddings": 128}, 512),
        (None, 512),
    ],
)
def test_a_model_takes_as_many_tokens_as_one_row_s_answer_depends_on_no_other(rope, length):
    config = {"max_position_embeddings": 512, "original_max_position_embeddings": 256}
    assert context_length({**config, "rope_parameters": rope}) == length
