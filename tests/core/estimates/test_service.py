"""An estimate is held against the training itself, on the tiny model."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.basemodels.service import record_base
from core.basemodels.store import ModelStore, write_manifest
from core.datasets.models import Dataset
from core.db import Database
from core.errors import InvalidInput, WrongState
from core.estimates import asked as asking
from core.estimates.service import Estimate, estimate
from core.files.models import File
from core.fleet.service import Node, register
from core.jobs.models import Attempt
from core.jobs.types.train import TrainParams
from core.settings import get_settings
from core.storage import get_storage
from tests.core.jobs.jobs import add_job
from tests.workers.recipes.training import HELD_OUT, ROWS, make_inputs
from workers.context import LocalContext
from workers.recipes import train

Train = Callable[..., dict[str, Any]]

GIB = 1024**3
PARAMS = {"epochs": 2, "early_stopping": False, "precision": "fp32", "learning_rate": 0.001}
GPU0 = Node(
    id="gpu0@a",
    queue="gpu",
    device="cpu",
    slots=1,
    memory_bytes=8 * GIB,
    models=["tiny"],
    versions={},
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model and a dataset, as directories."""
    made = make_inputs(tmp_path_factory.mktemp("inputs"))
    write_manifest(made["model"], name="tiny", source="a test", licence="none")
    return made


@pytest.fixture
def ready(
    database: Database,
    project_id: str,
    inputs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Database:
    """A platform that has them, with one worker."""
    store = tmp_path / "models"
    store.mkdir()
    monkeypatch.setattr(get_settings(), "model_dir", store)
    (store / "tiny").mkdir()
    for file in inputs["model"].iterdir():
        (store / "tiny" / file.name).hardlink_to(file)
    get_storage().put_tree(inputs["dataset"], "d")
    with database.transaction() as session:
        record_base(session, ModelStore(store).get("tiny"))
        register(session, GPU0)
        add_dataset(session, project_id)
    return database


def add_dataset(session: Session, project_id: str) -> None:
    mine = {"project_id": project_id}
    file = {"purpose": "fine-tune", "filename": "x", "bytes": 1, "sha256": "x", "storage_key": "x"}
    session.add(File(id="file_1", **file, **mine))
    session.flush()
    session.add(
        Dataset(
            id="ds_1",
            name="pairs",
            status="ready",
            kind="sql",
            file_id="file_1",
            storage_key="d",
            splits={"train": len(ROWS), "validation": len(HELD_OUT)},
            **mine,
        )
    )
    session.flush()


def ask(database: Database, project_id: str, **params: Any) -> Estimate:
    body = {"model": "tiny", "dataset": "pairs", **PARAMS, **params}
    with database.reading() as session:
        named = asking.find(session, project_id, TrainParams.model_validate(body))
    asked = asking.count(named)
    with database.reading() as session:
        return estimate(session, asked)


@pytest.fixture(scope="module")
def trained(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains as a worker would, once for the same parameters, and gives the result."""

    @cache
    def run(**params: Any) -> dict[str, Any]:
        context = LocalContext(
            {"model": "tiny", **PARAMS, **params}, inputs, tmp_path_factory.mktemp("work")
        )
        return train.run(context)

    return run


def remember(database: Database, project_id: str, result: dict[str, Any], seconds: float) -> str:
    """As if a worker had finished such a training."""
    with database.transaction() as session:
        job = add_job(
            session,
            project_id,
            type="train",
            status="succeeded",
            params={"model": "tiny", "dataset": "pairs"},
            result=result,
            token=1,
        )
        times = {"started_at": 100.0, "finished_at": 100.0 + seconds}
        session.add(
            Attempt(job_id=job.id, token=1, worker_id=GPU0.id, outcome="succeeded", **times)
        )
        return job.id


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"epochs": "auto", "prompt": "classic", "batch_size": 8},
        {"preset": "classic", "precision": "fp32", "epochs": 1.5, "save_steps": None},
    ],
    ids=["bare", "auto", "classic"],
)
def test_steps_tokens_and_choices_are_exactly_those_of_the_training(
    ready: Database,
    project_id: str,
    trained: Train,
    params: dict[str, Any],
) -> None:
    found = ask(ready, project_id, **params)
    result = trained(**params)
    resolved = result["resolved"]
    assert found.asked.steps == result["steps"]
    assert found.asked.tokens.basis == "counted"
    assert found.asked.tokens.per_epoch == result["train_tokens"]
    assert found.asked.validation_examples == result["validation_examples"]
    [site] = found.sites
    for name in ("epochs", "learning_rate", "precision", "lora"):
        assert site.resolved[name] == resolved[name], name
    assert site.room.fits
    assert site.room.micro_batch == resolved["micro_batch"]
    assert site.room.gradient_checkpointing == resolved["gradient_checkpointing"]
    computed = result["tokens_per_second"] * result["train_seconds"] / result["epochs"]
    shared = resolved["lora"]["dropout"] == 0
    estimated = found.asked.tokens.computed_per_epoch(site.room.micro_batch, share_prefix=shared)
    assert estimated == pytest.approx(computed, rel=0.05)


def test_time_is_told_by_a_finished_training_and_not_without_one(
    ready: Database, project_id: str, trained: Train
) -> None:
    assert ask(ready, project_id).best.time is None
    result = trained()
    job_id = remember(ready, project_id, result, seconds=result["train_seconds"] + 5)
    time = ask(ready, project_id).best.time
    assert (time.basis, time.job_id) == ("measured", job_id)
    assert time.training_seconds == pytest.approx(result["train_seconds"], rel=0.05, abs=0.1)
    assert time.seconds == pytest.approx(result["train_seconds"] + 5, rel=0.05, abs=0.1)


@pytest.mark.slow
def test_time_is_within_30_percent_of_what_then_happens(
    ready: Database, project_id: str, trained: Train
) -> None:
    """On a quiet machine."""
    known = trained(epochs=20)
    remember(ready, project_id, known, seconds=known["train_seconds"] + 1)
    time = ask(ready, project_id, epochs=60).best.time
    happened = trained(epochs=60)
    assert time.training_seconds == pytest.approx(happened["train_seconds"], rel=0.3)


def test_without_the_models_tokenizer_an_earlier_training_has_counted(
    ready: Database, project_id: str, tmp_path: Path
) -> None:
    (tmp_path / "models/tiny/tokenizer.json").unlink()
    found = ask(ready, project_id)
    assert found.asked.tokens is None and found.asked.steps == 4
    resolved = {"prompt": "bare", "max_length": 2048, "quantization": "8bit", "precision": "fp32"}
    resolved |= {"lora": {"layers": 2}, "batch_size": 16, "save_steps": None}
    result = {"resolved": resolved, "train_tokens": 999, "train_examples": len(ROWS)}
    result |= {"tokens_per_second": 10.0, "examples_per_second": 1.0, "train_seconds": 56.0}
    remember(ready, project_id, result | {"epochs": 2.0, "validation_examples": 6}, seconds=60)
    found = ask(ready, project_id)
    assert (found.asked.tokens.basis, found.asked.tokens.per_epoch) == ("measured", 999)
    assert found.sites[0].room is None and found.sites[0].time.seconds == 60.0
    assert ask(ready, project_id, prompt="classic").asked.tokens is None


def test_each_live_worker_says_whether_it_can(ready: Database, project_id: str) -> None:
    with ready.transaction() as session:
        register(session, replace(GPU0, id="gpu1@small", memory_bytes=GIB // 2))
        register(session, replace(GPU0, id="gpu2@bare", models=[]))
        register(session, replace(GPU0, id="cpu0@a", queue="cpu"))
    found = ask(ready, project_id)
    sites = {site.worker.id: site for site in found.sites}
    assert {name: site.usable for name, site in sites.items()} == {
        "gpu0@a": True,
        "gpu1@small": False,
        "gpu2@bare": False,
    }
    assert not sites["gpu1@small"].room.fits and not sites["gpu2@bare"].has_model
    assert found.best.worker.id == "gpu0@a"
    assert found.starts_at_once
    with ready.transaction() as session:
        for _ in range(3):
            add_job(session, project_id)
    assert not ask(ready, project_id).starts_at_once


def test_what_a_training_would_refuse_is_refused(
    ready: Database, project_id: str, trained: Train
) -> None:
    with pytest.raises(InvalidInput, match="max_length 16: line 1 ") as refused:
        ask(ready, project_id, max_length=16)
    assert refused.value.code == "rows_refused"
    with pytest.raises(InvalidInput, match="no base model"):
        ask(ready, project_id, model="other")
    with ready.transaction() as session:
        session.get_one(Dataset, "ds_1").status = "processing"
    with pytest.raises(WrongState) as refused:
        ask(ready, project_id)
    assert refused.value.code == "dataset_not_ready"
