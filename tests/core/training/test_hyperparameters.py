import json

import pytest

from core.errors import JobFailure
from core.training import hyperparameters
from core.training.hyperparameters import EarlyStopping, TrainSettings


def test_nothing_given_is_the_default_preset():
    assert TrainSettings.from_params({}) == TrainSettings()
    assert TrainSettings.from_params({"epochs": None, "lora": {"r": None}}) == TrainSettings()


def test_the_classic_preset_is_the_course_s_table():
    settings = TrainSettings.from_params({"preset": "classic", "epochs": 1})
    assert (settings.lora.r, settings.lora.alpha, settings.lora.dropout) == (16, 32, 0.05)
    assert (settings.batch_size, settings.micro_batch, settings.max_length) == (16, 4, 512)
    assert (settings.learning_rate, settings.warmup_ratio, settings.prompt) == (
        2e-4,
        0.1,
        "classic",
    )
    assert (settings.epochs, settings.save_steps, settings.keep) == (1, 100, 3)


def test_what_is_given_wins_and_the_rest_stays():
    settings = TrainSettings.from_params(
        {"lora": {"r": 4, "target_modules": ["q_proj"]}, "early_stopping": {"patience": 9}}
    )
    assert (settings.lora.r, settings.lora.alpha) == (4, 32)
    assert settings.lora.target_modules == ("q_proj",)
    assert settings.early_stopping == EarlyStopping(patience=9)
    assert TrainSettings.from_params({"early_stopping": False}).early_stopping is None
    json.dumps(settings.to_dict())


def test_an_unknown_preset_is_refused():
    with pytest.raises(JobFailure, match="classic"):
        TrainSettings.from_params({"preset": "vintage"})


def test_small_data_trains_longer_and_large_models_slower():
    epochs = [hyperparameters.auto_epochs(n) for n in (10, 1_000, 3_000, 100_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[-1] >= 1
    rates = [hyperparameters.auto_learning_rate(n) for n in (1_000, 135e6, 494e6, 7e9)]
    assert rates == sorted(rates, reverse=True) and rates[0] == rates[1]


def test_a_cpu_trains_the_last_layers_a_gpu_all() -> None:
    assert hyperparameters.auto_layers(30, "cpu") == 20
    assert hyperparameters.auto_layers(1, "cpu") == 1
    assert hyperparameters.auto_layers(30, "cuda:0") == "all"


def test_sql_of_one_database_is_asked_without_its_schema() -> None:
    assert hyperparameters.auto_prompt("sql") == "bare"
    assert hyperparameters.auto_prompt("chat") == "chat"


def test_memory_is_saved_by_smaller_groups_then_by_checkpointing():
    def room(tokens):
        return lambda micro, checkpointing: micro * (1 if checkpointing else 8) <= tokens

    assert hyperparameters.auto_memory(16, room(128)) == (16, False)
    assert hyperparameters.auto_memory(16, room(40)) == (4, False)
    assert hyperparameters.auto_memory(16, room(16)) == (16, True)
    assert hyperparameters.auto_memory(16, room(0)) == (1, True)
