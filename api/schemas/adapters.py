"""What `/v1/adapters` shows beside the adapters themselves: aliases, their moves, lineage."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from api.schemas.common import Body, Shape
from api.schemas.evaluations import EvaluationShape, evaluation_shape
from api.schemas.resources import VersionShape, version_shape
from core.adapters.lineage import Lineage
from core.adapters.models import Adapter, AdapterAlias, AdapterVersion, AliasMove
from core.evaluations.service import METRICS


class BarBody(Body):
    """What an evaluation has to show before the alias moves."""

    metric: Literal[METRICS] = "execution_accuracy"
    at_least: float | None = Field(None, ge=0, le=1)
    not_worse_than: str | None = Field(
        None, description="An alias of the same adapter; it may be the one that is to move."
    )
    split: str = "test"
    dataset: str | None = Field(None, description="That of the version's training if not named.")

    @model_validator(mode="after")
    def _asks_for_something(self) -> "BarBody":
        if self.at_least is None and self.not_worse_than is None:
            raise ValueError("give at_least, not_worse_than or both")
        return self


class MoveBody(Body):
    """Where an alias is to stand. `bar` left out: it keeps the one that it has; null: none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"version": 3, "bar": {"metric": "execution_accuracy", "at_least": 0.9}},
                {"version": "sales-sql:3"},
            ]
        },
    )

    version: int | str
    bar: BarBody | None = None


class AliasShape(Shape):
    """`id` is a model's name: `sales-sql@production`."""

    id: str
    object: Literal["adapter.alias"] = "adapter.alias"
    name: str
    adapter: str
    version: str
    bar: dict[str, Any] | None
    created_at: int


class AliasMoveShape(Shape):
    """`evaluation` met the bar, if there was one."""

    id: str
    object: Literal["adapter.alias.move"] = "adapter.alias.move"
    before: str | None
    version: str
    evaluation: str | None
    rolled_back: bool
    created_at: int


class RemovedShape(Shape):
    id: str
    object: Literal["adapter.alias"] = "adapter.alias"
    deleted: Literal[True] = True


class OriginShape(Shape):
    """A dataset or a database, by what identifies it."""

    id: str
    name: str
    sha256: str | None


class BaseOriginShape(Shape):
    name: str
    source: str | None
    licence: str | None
    parameters: int


class MergedOfShape(Shape):
    id: str
    name: str
    merge: str
    parity: dict[str, Any]


class LineageShape(Shape):
    """Where a version came from and what was made of it. `parent`: the version or checkpoint that
    its training started from."""

    object: Literal["adapter.lineage"] = "adapter.lineage"
    version: VersionShape
    base_model: BaseOriginShape
    parent: str | None
    dataset: OriginShape
    database: OriginShape | None
    job: str
    evaluations: list[EvaluationShape]
    merged: list[MergedOfShape]
    aliases: list[str]


def alias_address(adapter: Adapter, name: str) -> str:
    return f"{adapter.name}@{name}"


def alias_shape(adapter: Adapter, row: AdapterAlias, version: AdapterVersion) -> AliasShape:
    return AliasShape(
        id=alias_address(adapter, row.name),
        name=row.name,
        adapter=adapter.name,
        version=version.address,
        bar=row.bar,
        created_at=int(row.created_at),
    )


def move_shape(row: AliasMove, addresses: dict[str, str]) -> AliasMoveShape:
    """`addresses`: those of the adapter's versions by id."""
    return AliasMoveShape(
        id=row.id,
        before=addresses.get(row.from_version_id or ""),
        version=addresses[row.to_version_id],
        evaluation=row.evaluation_id,
        rolled_back=row.rolled_back,
        created_at=int(row.created_at),
    )


def lineage_shape(found: Lineage) -> LineageShape:
    database = found.database
    return LineageShape(
        version=version_shape(found.version),
        base_model=BaseOriginShape(
            name=found.base.name,
            source=found.base.manifest.get("source"),
            licence=found.base.manifest.get("licence"),
            parameters=found.base.parameters,
        ),
        parent=found.parent,
        dataset=OriginShape(
            id=found.dataset.id, name=found.dataset.name, sha256=found.dataset.content_hash
        ),
        database=database
        and OriginShape(id=database.id, name=database.name, sha256=database.sha256),
        job=found.version.job_id,
        evaluations=[evaluation_shape(one) for one in found.evaluations],
        merged=[
            MergedOfShape(id=one.id, name=one.name, merge=one.job_id, parity=one.parity)
            for one in found.merged
        ],
        aliases=[f"{found.version.adapter.name}@{one.name}" for one in found.aliases],
    )
