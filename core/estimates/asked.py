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
class Named:
    """What the parameters name, as the database has it; `database` is what a prompt says of the
    dataset's, `counted_with` the base model with whose tokenizer the dataset was prepared."""

    base: BaseModel
    dataset: Dataset
    settings: TrainSettings
    database: dict[str, Any]
    known: Sequence[Measured]
    counted_with: str | None


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


def find(session: Session, project_id: str, params: TrainParams) -> Named:
    """What the parameters name, or what a training would be refused for."""
    base = get_base(session, params.model)
    dataset = _ready(session, project_id, params.dataset)
    return Named(
        base=base,
        dataset=dataset,
        settings=TrainSettings.from_params(params.model_dump(mode="json")),
        database=_database(session, dataset),
        known=measured.trainings(session),
        counted_with=_counted_with(session, dataset),
    )


def count(named: Named) -> Asked:
    """Fetches the dataset's files and goes through its rows: hold no transaction meanwhile."""
    base, dataset, settings, known = named.base, named.dataset, named.settings, named.known
    template = _template(named)
    found = (
        tokens.count(base, dataset, settings, template)
        or tokens.counted_before(known, base, dataset, settings, template)
        or tokens.from_statistics(base, dataset, template, model=named.counted_with)
    )
    return Asked(base, dataset, settings, template, known, found)


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


def _database(session: Session, dataset: Dataset) -> dict[str, Any]:
    if dataset.database_id is None:
        return {}
    return databases.prompt_params(session.get_one(TargetDatabase, dataset.database_id))


def _template(named: Named) -> PromptTemplate:
    info = read_info(tokens.folder_of(named.dataset))
    shown = {name: info.get(name) for name in ("schema_text", "dialect")} | named.database
    try:
        return planning.choose_template(named.settings, kind=named.dataset.kind, **shown)
    except JobFailure as error:
        raise InvalidInput(error.message, param="prompt") from None


def _counted_with(session: Session, dataset: Dataset) -> str | None:
    job = session.get(Job, dataset.job_id) if dataset.job_id else None
    return job.params.get("model") if job else None
