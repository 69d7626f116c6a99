"""Tokens of several groups stand in one batch, each group filled up."""

import torch

from workers.ml.grouping import MUCH_PADDING, padded


def test_each_token_stands_in_its_group_and_is_found_again() -> None:
    groups = [[4, 1], [], [0, 2, 3]]
    batch = padded(groups, "cpu")
    assert batch.tokens.view(3, 3)[0].tolist() == [4, 1, 0]
    assert batch.tokens.view(3, 3)[2].tolist() == [0, 2, 3]
    assert torch.equal(batch.tokens[batch.places], torch.arange(5))


def test_a_group_that_has_most_is_not_padded_to() -> None:
    assert padded([[0], [*range(1, MUCH_PADDING // 2)]], "cpu") is not None
    assert padded([[0], [*range(1, 2 * MUCH_PADDING)], []], "cpu") is None
