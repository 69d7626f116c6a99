"""The training that is asked about: its parts found, its tokens counted. Knows no worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.basemodels.models import BaseModel
from core.basemodels.service import get_base
from core.databases import service as databases
from core.databases.models import TargetDatabase
from core.datasets import service as datasets
from core.datasets.models import Dataset
from core.datasets.store import read_info
from core.errors import InvalidInput, JobFailure, WrongState
from core.estimates import measured, tokens
from core.estimates.measured import Measured
from core.estimates.tokens import TokenCount
from core.jobs.models import Job
from core.jobs.types.train import TrainParams
from core.training import planning
from core.training.hyperparameters import TrainSettings
from core.training.prompts import PromptTemplate


@dataclass(frozen=True)
class Asked:
    """`known` are the trainings that were measured; `tokens` None where nobody can count them."""

    base: BaseModel
    dataset: Dataset
    settings: TrainSettings
    template: PromptTemplate
    known: Sequence[Measured]
    tokens: TokenCount | None

    @property
    def examples(self) -> int:
        return self.dataset.splits["train"]

    @property
    def validation_examples(self) -> int:
        return planning.validated(self.dataset.splits.get("validation", 0))

    @property
    def epochs(self) -> float:
        return self.resolve(device="cpu", precision="fp32")["epochs"]

    @property
    def steps(self) -> int:
        return planning.total_steps(self.epochs, self.examples, self.settings.batch_size)

    def resolve(self, *, device: str, precision: str) -> dict[str, Any]:
        """Every "auto" that memory does not decide, as on such a device."""
        shape = self.base.manifest.get("shape") or {}
        return planning.resolve(
            self.settings,
            examples=self.examples,
            parameters=self.base.parameters,
            layers=shape.get("num_hidden_layers", 1),
            device=device,
            precision=precision,
        )


def read(session: Session, project_id: str, params: TrainParams) -> Asked:
    """What the parameters name, or what a training would be refused for."""
    base = get_base(session, params.model)
    dataset = _ready(session, project_id, params.dataset)
    settings = TrainSettings.from_params(params.model_dump(mode="json"))
    template = _template(session, dataset, settings)
    known = measured.trainings(session)
    count = (
        tokens.count(base, dataset, settings, template)
        or tokens.counted_before(known, base, dataset, settings, template)
        or tokens.from_statistics(base, dataset, template, model=_token_model(session, dataset))
    )
    return Asked(base, dataset, settings, template, known, count)


def _ready(session: Session, project_id: str, reference: str) -> Dataset:
    dataset = datasets.find(session, project_id, reference)
    datasets.require_usable(dataset)
    if dataset.status != datasets.READY:
        raise WrongState(
            f"The dataset '{dataset.name}' is still being prepared (job {dataset.job_id}); ask "
            "again when it is ready.",
            code="dataset_not_ready",
            param="dataset",
        )
    datasets.require_split(dataset, "train")
    return dataset


def _template(session: Session, dataset: Dataset, settings: TrainSettings) -> PromptTemplate:
    info = read_info(tokens.folder_of(dataset))
    shown = {name: info.get(name) for name in ("schema_text", "dialect")}
    if dataset.database_id is not None:
        database = session.get_one(TargetDatabase, dataset.database_id)
        shown |= databases.prompt_params(database)
    try:
        return planning.choose_template(settings, kind=dataset.kind, **shown)
    except JobFailure as error:
        raise InvalidInput(error.message, param="prompt") from None


def _token_model(session: Session, dataset: Dataset) -> str | None:
    """The base model with whose tokenizer the prepare job counted."""
    job = session.get(Job, dataset.job_id) if dataset.job_id else None
    return job.params.get("model") if job else None
