"""Tokens are drawn by temperature and top-p, the same ones for the same seed."""

import torch

from workers.ml.sampling import Sampling, draw, greedy


def draws(sampling, logits, count=200):
    generator = torch.Generator().manual_seed(sampling.seed)
    return [draw(logits, sampling, generator) for _ in range(count)]


def test_greedy_takes_the_first_of_the_best():
    best, sound = greedy(torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]))
    assert (best, sound) == ([1, 0], [True, True])


def test_a_row_is_no_numbers_where_any_of_it_is_not():
    nan, inf = float("nan"), float("inf")
    _, sound = greedy(torch.tensor([[1.0, nan, 3.0], [2.0, inf, 1.0], [2.0, -inf, 1.0]]))
    assert sound == [False, False, True]


def test_top_p_keeps_the_smallest_set_that_holds_it():
    logits = torch.log(torch.tensor([0.15, 0.5, 0.3, 0.05]))
    assert set(draws(Sampling(temperature=1.0, top_p=0.7), logits)) == {1, 2}
    assert set(draws(Sampling(temperature=1.0, top_p=0.4), logits)) == {1}
    assert set(draws(Sampling(temperature=1.0), logits)) == {0, 1, 2, 3}


def test_a_low_temperature_is_nearly_greedy():
    logits = torch.tensor([0.0, 1.0, 0.5])
    assert set(draws(Sampling(temperature=0.01), logits)) == {1}


def test_the_seed_decides():
    logits = torch.zeros(50)
    assert draws(Sampling(temperature=1, seed=3), logits) == draws(
        Sampling(temperature=1, seed=3), logits
    )
    assert draws(Sampling(temperature=1, seed=3), logits) != draws(
        Sampling(temperature=1, seed=4), logits
    )


def test_however_small_top_p_is_the_best_token_is_left():
    logits = torch.tensor([0.0, 1.0, 0.5])
    assert set(draws(Sampling(temperature=1.0, top_p=1e-50), logits)) == {1}


def test_a_temperature_that_no_number_is_divided_by_is_greedy():
    assert set(draws(Sampling(temperature=1e-45), torch.tensor([0.0, 2.0, 1.0]))) == {1}
