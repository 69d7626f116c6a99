"""What a fine-tuning job is asked, and the parameters of a training that come of it. Pure.

OpenAI's words (`n_epochs`, `suffix` …) are turned into ours here and nowhere else.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import InvalidInput
from core.jobs.types.train import TrainParams
from core.names import as_name, name_of_file
from core.training.hyperparameters import TrainSettings, auto_learning_rate

Auto = Literal["auto"]
UNNAMED = "tuned"


@dataclass(frozen=True)
class Hyperparameters:
    """OpenAI's three. What is "auto" is decided when the training sees its data."""

    n_epochs: Auto | int = "auto"
    batch_size: Auto | int = "auto"
    learning_rate_multiplier: Auto | float = "auto"


@dataclass(frozen=True)
class Order:
    """A checked request. `training` holds the parameters that have our own names."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    database: str | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    gradient_accumulation: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def to_say_again(self) -> dict[str, Any]:
        """What the job object shows of the request; `Job.request`."""
        return {
            "model": self.model,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "suffix": self.suffix,
            "hyperparameters": vars(self.hyperparameters),
        }


def adapter_name(order: Order, filename: str) -> str:
    """What the trained adapter is called: as asked, else by the suffix, else by the file."""
    if asked := order.training.get("adapter"):
        return asked
    if order.suffix is not None:
        name = as_name(order.suffix)
        if not name:
            raise InvalidInput(
                f"suffix: {order.suffix!r} names no adapter; use at least one letter a to z or "
                "digit, or say the name in 'adapter'.",
                param="suffix",
            )
        return name
    return name_of_file(filename, unnamed=UNNAMED)


def training_params(
    order: Order,
    *,
    base: str,
    parameters: int,
    continue_from: str | None,
    dataset: str,
    adapter: str,
) -> TrainParams:
    """The parameters of the train job, on a base model with so many `parameters`."""
    asked = order.hyperparameters
    params = order.training | {
        "model": base,
        "dataset": dataset,
        "adapter": adapter,
        "continue_from": continue_from,
    }
    if asked.n_epochs != "auto":
        params["epochs"] = asked.n_epochs
    if asked.batch_size != "auto":
        params["batch_size"] = asked.batch_size
    settings = TrainSettings.from_params(params)
    params["seed"] = settings.seed  # the job object shows it from the beginning
    if order.gradient_accumulation is not None:
        params["micro_batch"] = -(-settings.batch_size // order.gradient_accumulation)
    if asked.learning_rate_multiplier != "auto":
        params["learning_rate"] = _scaled_rate(settings, parameters, asked.learning_rate_multiplier)
    return TrainParams.model_validate(params)


def _scaled_rate(settings: TrainSettings, parameters: int, multiplier: float) -> float:
    rate = settings.learning_rate
    usual = auto_learning_rate(parameters) if rate == "auto" else float(rate)
    if not 0 < usual * multiplier <= 1:
        raise InvalidInput(
            f"learning_rate_multiplier: {multiplier:g} times the learning rate {usual:g} is "
            f"{usual * multiplier:g}; above 0 and at most 1 is right.",
            param="method.supervised.hyperparameters.learning_rate_multiplier",
        )
    return usual * multiplier
