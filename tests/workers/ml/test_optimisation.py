import pytest
import torch

from core.errors import JobFailure
from workers.ml.optimisation import make_optimizer, make_schedule, prepare_scaler


def rates(schedule, steps=20):
    optimizer = make_optimizer(
        [torch.nn.Parameter(torch.ones(2, 2))], learning_rate=1.0, weight_decay=0
    )
    schedule = make_schedule(optimizer, schedule=schedule, warmup_ratio=0.1, total_steps=steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_linear_rises_over_a_tenth_and_falls_to_nothing():
    found = rates("linear")
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[2:] == sorted(found[2:], reverse=True) and 0 < found[-1] < 0.1


def test_constant_and_cosine_reach_the_same_height():
    assert rates("constant")[2:] == [1.0] * 18
    assert max(rates("cosine")) == 1.0 and rates("cosine")[-1] < 0.05


def test_an_unknown_schedule_is_refused():
    with pytest.raises(JobFailure, match="linear"):
        rates("zigzag")


def test_only_matrices_decay():
    matrix, gain = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer = make_optimizer([matrix, gain], learning_rate=0.1, weight_decay=0.5)
    matrix.grad, gain.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert matrix.max() < 1 and gain.min() == 1


@pytest.mark.parametrize("resumed", [False, True], ids=["at first", "resumed"])
def test_a_rank_that_has_scaled_no_loss_unscales_the_sum_of_the_others(resumed):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer([weight], learning_rate=1.0, weight_decay=0)
    scaler, factor = torch.amp.GradScaler("cpu", init_scale=8.0), 8.0
    prepare_scaler(scaler, "cpu")
    if resumed:
        factor = 2.0
        scaler.load_state_dict(torch.amp.GradScaler("cpu", init_scale=factor).state_dict())
    weight.grad = torch.full((2, 2), 3.0 * factor)
    scaler.unscale_(optimizer)
    assert torch.equal(weight.grad, torch.full((2, 2), 3.0))


def test_without_a_scaler_nothing_is_prepared():
    prepare_scaler(None, "cpu")
