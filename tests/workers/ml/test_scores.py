"""A token's score is the log softmax of the logits it was said out of."""

import math

import pytest
import torch

from workers.ml.scores import LEAST, scores


def test_each_place_has_its_token_s_log_probability_and_the_best_ones():
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])) + 7
    first, second = scores(logits, [2, 0], 2)
    assert first.logprob == pytest.approx(math.log(0.3), abs=1e-5)
    assert [token for token, _ in first.best] == [1, 2]
    assert first.best[1] == (2, first.logprob)
    assert second.best == [(0, second.logprob), (2, pytest.approx(math.log(0.3), abs=1e-5))]


def test_without_best_ones_there_is_the_token_alone_and_never_more_than_there_are():
    logits = torch.zeros(1, 4)
    assert scores(logits, [3], 0)[0].best == []
    assert len(scores(logits, [3], 20)[0].best) == 4


@pytest.mark.parametrize("said", range(5))
def test_of_equals_the_one_that_was_said_comes_first(said):
    logits = torch.tensor([[2.0] * 5 + [1.0]], dtype=torch.bfloat16)
    [score] = scores(logits, [said], 1)
    assert score.best == [(said, score.logprob)]


def test_what_can_not_come_has_a_number_that_json_knows():
    [score] = scores(torch.tensor([[0.0, -torch.inf]]), [0], 2)
    assert score.best == [(0, 0.0), (1, LEAST)]


def test_the_logits_stay_as_they_are():
    logits = torch.randn(2, 9)
    before = logits.clone()
    scores(logits, [1, 2], 3)
    assert torch.equal(logits, before)
