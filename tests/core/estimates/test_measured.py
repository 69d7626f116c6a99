"""What one training measured says of the time of another."""

from dataclasses import replace

import pytest

from core.basemodels.models import BaseModel
from core.datasets.models import Dataset
from core.estimates.measured import Measured, Wanted, most_similar, time_of
from core.fleet.models import Worker

TINY = BaseModel(name="tiny", parameters=1_000_000)
LARGE = BaseModel(name="large", parameters=4_000_000)
DATASET = Dataset(id="ds_1", name="pairs", project_id="proj_1")
CPU = Worker(id="gpu0@a", device="cpu")
GPU = Worker(id="gpu0@b", device="cuda")

# 480 examples of 50 tokens, three times: 72,000 tokens at 1,000 a second.
DONE = Measured(
    job_id="job_1",
    project_id="proj_1",
    params={"model": "tiny", "dataset": "pairs"},
    result={
        "tokens_per_second": 1000.0,
        "examples_per_second": 20.0,
        "train_seconds": 72.0,
        "train_examples": 480,
        "validation_examples": 60,
        "epochs": 3.0,
        "resolved": {
            "quantization": "8bit",
            "precision": "fp32",
            "batch_size": 16,
            "save_steps": None,
            "lora": {"layers": 20},
        },
    },
    seconds=85.0,
    worker_id="gpu0@a",
    device="cpu",
    parameters=1_000_000,
)
THE_SAME = Wanted(
    base=TINY,
    dataset=DATASET,
    quantization="8bit",
    layers=20,
    epochs=3,
    steps=90,
    save_steps=None,
    computed_per_epoch=24_000,
    examples=480,
    validation_examples=60,
)


def test_the_same_training_takes_what_it_took():
    time = time_of(THE_SAME, DONE, worker=CPU)
    assert (time.seconds, time.training_seconds, time.basis) == (85.0, 72.0, "measured")


def test_steps_and_validations_grow_with_the_epochs_the_rest_does_not():
    time = time_of(replace(THE_SAME, epochs=6, steps=180), DONE, worker=CPU)
    assert time.training_seconds == 144.0
    # Three more validations of 60 examples of 50 tokens, each a third of a step's work.
    assert time.seconds == 85.0 + 72.0 + 3 * 60 * 50 / 3 / 1000


def test_more_frequent_validations_cost_their_time():
    often = time_of(replace(THE_SAME, save_steps=3), DONE, worker=CPU)
    assert often.seconds == 85.0 + (30 - 3) * 60 * 50 / 3 / 1000


def test_of_another_base_it_is_scaled_by_size():
    time = time_of(replace(THE_SAME, base=LARGE), DONE, worker=CPU)
    assert (time.tokens_per_second, time.training_seconds) == (250.0, 288.0)
    assert time.basis == "scaled"


def test_what_another_kind_of_device_measured_is_said_to_be_that():
    assert time_of(THE_SAME, DONE, worker=GPU).basis == "other_device"


@pytest.mark.parametrize(
    "less_like",
    [
        {"params": {"model": "large", "dataset": "pairs"}},
        {"device": "cuda"},
        {"result": DONE.result | {"resolved": DONE.result["resolved"] | {"quantization": "none"}}},
        {"params": {"model": "tiny", "dataset": "others"}},
        {"project_id": "proj_2"},  # whose dataset of that name is another one
        {"worker_id": "gpu1@a"},
    ],
    ids=["base", "device", "quantization", "dataset", "project", "worker"],
)
def test_the_most_similar_one_is_taken_though_it_be_older(less_like):
    newer = replace(DONE, job_id="job_2", **less_like)
    assert most_similar([newer, DONE], THE_SAME, worker=CPU) is DONE


def test_of_equals_the_newest_is_taken_and_of_none_none():
    newer = replace(DONE, job_id="job_2")
    assert most_similar([newer, DONE], THE_SAME, worker=CPU) is newer
    assert most_similar([], THE_SAME, worker=CPU) is None
