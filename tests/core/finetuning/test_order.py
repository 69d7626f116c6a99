"""OpenAI's words become the parameters of a training."""

import pytest

from core.errors import InvalidInput
from core.finetuning.order import Hyperparameters, Order, adapter_name, training_params
from core.training.hyperparameters import TrainSettings, auto_learning_rate

PARAMETERS = 135_000_000


def order(**values) -> Order:
    return Order(model="tiny", training_file="file_1", **values)


def params(asked: Order) -> dict:
    made = training_params(
        asked,
        base="tiny",
        parameters=PARAMETERS,
        continue_from=None,
        dataset="ds_1",
        adapter="a",
    )
    return made.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("custom-model-name", "custom-model-name"),
        ("My Model (v2)", "my-model-v2"),
        ("销售 sales", "sales"),
        ("x" * 64, "x" * 63),
    ],
)
def test_a_suffix_names_the_adapter(suffix: str, name: str) -> None:
    assert adapter_name(order(suffix=suffix), "pairs.jsonl") == name


def test_a_suffix_without_a_letter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names no adapter") as refused:
        adapter_name(order(suffix="销售"), "pairs.jsonl")
    assert refused.value.param == "suffix"


def test_an_adapter_that_is_named_counts_more_than_the_suffix() -> None:
    asked = order(suffix="销售", training={"adapter": "sales-sql"})
    assert adapter_name(asked, "pairs.jsonl") == "sales-sql"


@pytest.mark.parametrize(("file", "name"), [("Pairs 1.jsonl", "pairs-1"), ("问题.jsonl", "tuned")])
def test_without_a_name_the_file_gives_one(file: str, name: str) -> None:
    assert adapter_name(order(), file) == name


def test_what_is_left_out_is_left_to_the_training() -> None:
    assert params(order()) == {
        "model": "tiny",
        "dataset": "ds_1",
        "adapter": "a",
        "preset": "default",
        "lora": {},
        "seed": 42,
    }


def test_hyperparameters_are_said_in_our_words() -> None:
    asked = order(hyperparameters=Hyperparameters(3, 8, 0.5), training={"seed": 7})
    made = params(asked)
    assert (made["epochs"], made["batch_size"], made["seed"]) == (3, 8, 7)
    assert made["learning_rate"] == 0.5 * auto_learning_rate(PARAMETERS)


def test_the_multiplier_is_of_the_learning_rate_that_was_said() -> None:
    asked = Hyperparameters(learning_rate_multiplier=2)
    assert params(order(hyperparameters=asked, training={"learning_rate": 1e-3}))[
        "learning_rate"
    ] == pytest.approx(2e-3)
    classic = params(order(hyperparameters=asked, training={"preset": "classic"}))
    assert classic["learning_rate"] == pytest.approx(4e-4)


@pytest.mark.parametrize("multiplier", [1e9, 5e-324])
def test_a_multiplier_that_leaves_the_bounds_is_refused(multiplier: float) -> None:
    with pytest.raises(InvalidInput) as refused:
        params(order(hyperparameters=Hyperparameters(learning_rate_multiplier=multiplier)))
    assert refused.value.param.endswith("learning_rate_multiplier")


@pytest.mark.parametrize(("batch_size", "parts", "micro"), [("auto", 4, 4), (10, 4, 3), (2, 8, 1)])
def test_gradient_accumulation_divides_the_batch(batch_size, parts: int, micro: int) -> None:
    asked = order(
        hyperparameters=Hyperparameters(batch_size=batch_size), gradient_accumulation=parts
    )
    settings = TrainSettings.from_params(params(asked))
    assert settings.micro_batch == micro
