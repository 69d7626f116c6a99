"""What a version's evaluation has to show before an alias moves to it. Knows no alias' history.

    {"metric": "execution_accuracy", "at_least": 0.9, "split": "test", "dataset": "sales",
     "not_worse_than": "production"}

`dataset` is that of the version's training if none is named. `not_worse_than` names an alias of the
same adapter, which may be the one that is to move: what it stands for now is the measure.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.models import Adapter, AdapterAlias, AdapterVersion
from core.datasets import service as datasets
from core.datasets.models import Dataset
from core.errors import WrongState
from core.evaluations.service import measured, newest_whole
from core.jobs.models import Job

Bar = dict[str, Any]


def evidence(
    session: Session, adapter: Adapter, alias: str, version: AdapterVersion, bar: Bar
) -> str:
    """The id of the evaluation by which the version meets the bar; else a refusal that says what
    was measured and what is asked for."""
    dataset = datasets.find(session, adapter.project_id, bar.get("dataset") or version.dataset_id)
    datasets.require_split(dataset, bar["split"])
    found = _evaluation(session, adapter, version, dataset, bar)
    value = measured(found, bar["metric"])
    where = f"on the split '{bar['split']}' of '{dataset.name}'"
    if value is None:
        raise _refusal(f"The evaluation '{found.id}' measured no {bar['metric']}.")
    said = f"'{version.address}' has {bar['metric']} {value:.4f} {where} (evaluation {found.id})"
    if bar.get("at_least") is not None and value < bar["at_least"]:
        raise _refusal(f"{said}; the bar of '{alias}' is {bar['at_least']:.4f}.")
    rival = _rival(session, adapter, bar.get("not_worse_than"))
    if rival is not None and rival.id != version.id:
        _require_not_worse(session, adapter, rival, dataset, bar, value=value, said=said)
    return found.id


def _require_not_worse(
    session: Session,
    adapter: Adapter,
    rival: AdapterVersion,
    dataset: Dataset,
    bar: Bar,
    *,
    value: float,
    said: str,
) -> None:
    found = _evaluation(session, adapter, rival, dataset, bar)
    theirs = measured(found, bar["metric"])
    if theirs is not None and value < theirs:
        raise _refusal(
            f"{said}; '{rival.address}', for which '{bar['not_worse_than']}' stands, has "
            f"{theirs:.4f} (evaluation {found.id})."
        )


def _evaluation(
    session: Session, adapter: Adapter, version: AdapterVersion, dataset: Dataset, bar: Bar
) -> Job:
    found = newest_whole(session, adapter.project_id, version.address, dataset, bar["split"])
    if found is None:
        raise _refusal(
            f"No finished evaluation of '{version.address}' on the whole split '{bar['split']}' of "
            f"'{dataset.name}' is known. POST /v1/evaluations makes one."
        )
    return found


def _rival(session: Session, adapter: Adapter, alias: str | None) -> AdapterVersion | None:
    """What that alias stands for; nothing yet: nothing to be worse than."""
    return session.scalar(
        select(AdapterVersion)
        .join(AdapterAlias, AdapterAlias.version_id == AdapterVersion.id)
        .where(AdapterAlias.adapter_id == adapter.id, AdapterAlias.name == alias)
    )


def _refusal(message: str) -> WrongState:
    said = f"{message} The alias stays where it is."
    return WrongState(said, code="bar_not_met", param="version")
