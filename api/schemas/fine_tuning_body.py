"""The body of POST /v1/fine_tuning/jobs: OpenAI's fields, and a training's own beside them."""

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from api.schemas.common import Body, Metadata
from core.chat.fields import Text
from core.errors import InvalidInput
from core.finetuning.order import Auto, Hyperparameters, Order
from core.jobs.types.train import EarlyStoppingParams, TrainParams

Id = Annotated[Text, Field(min_length=1, max_length=200)]
OTHER_WORDS = ("dataset", "epochs", "batch_size")
"""Parameters of a training for which this body has OpenAI's: its files and hyperparameters."""


class HyperparametersBody(Body):
    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0)] = "auto"


class SupervisedBody(Body):
    hyperparameters: HyperparametersBody | None = None


class MethodBody(Body):
    type: Literal["supervised"]
    supervised: SupervisedBody | None = None


class EarlyStoppingBody(EarlyStoppingParams):
    metric: Literal["valid_loss"] = "valid_loss"


class _OpenaiBody(Body):
    model: Id
    training_file: Id
    validation_file: Id | None = None
    suffix: Annotated[Text, Field(min_length=1, max_length=64)] | None = None
    method: MethodBody | None = None
    hyperparameters: HyperparametersBody | None = Field(
        None, description="As in `method`, which is the place for them now."
    )
    metadata: Metadata | None = None
    integrations: list[dict[str, Any]] | None = None
    database: Id | None = None
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] | None = None
    eval_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    early_stopping: EarlyStoppingBody | Literal[False] | None = None

    def order(self) -> Order:
        """What it asks; `InvalidInput` where it says a thing twice, or asks what is not offered."""
        self._check()
        training = self.model_dump(mode="json", include=set(OURS), exclude_none=True)
        if self.early_stopping:
            training["early_stopping"].pop("metric")
        if self.eval_steps:
            training["save_steps"] = self.eval_steps
        return Order(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            suffix=self.suffix,
            database=self.database,
            hyperparameters=Hyperparameters(**self._asked().model_dump()),
            gradient_accumulation=self.gradient_accumulation,
            training=training,
            metadata=self.metadata or {},
        )

    def _check(self) -> None:
        if self.integrations:
            raise _refused("integrations", "none is offered; the job's events have its metrics")
        if self.hyperparameters and self._asked() != self.hyperparameters:
            raise _refused("hyperparameters", "method says others; say them there alone")
        if self.gradient_accumulation and self.micro_batch:
            raise _refused("gradient_accumulation", "micro_batch says the same; send one of them")
        if self.eval_steps and self.save_steps not in (None, self.eval_steps):
            raise _refused("eval_steps", "save_steps says the same; send one of them")

    def _asked(self) -> HyperparametersBody:
        supervised = self.method and self.method.supervised
        within = supervised and supervised.hyperparameters
        return within or self.hyperparameters or HyperparametersBody()


def _refused(param: str, why: str) -> InvalidInput:
    return InvalidInput(f"{param}: {why}.", param=param)


OURS = {
    name: (info.annotation, info)
    for name, info in TrainParams.model_fields.items()
    if name not in OTHER_WORDS and name != "model"
}
TuningBody: type[_OpenaiBody] = create_model(
    "FineTuningJobRequest",
    __base__=_OpenaiBody,
    **{name: field for name, field in OURS.items() if name not in _OpenaiBody.model_fields},
)
