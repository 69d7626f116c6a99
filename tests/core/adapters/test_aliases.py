"""An alias moves when its bar is met, says why when not, and goes back in one step."""

import pytest
from sqlalchemy.orm import Session

from core.adapters import aliases
from core.adapters.deletion import delete_model
from core.adapters.models import Adapter, AliasMove
from core.adapters.names import resolve_model
from core.adapters.service import get_adapter
from core.db import Database
from core.errors import InvalidInput, NotFound, WrongState
from tests.core.adapters.conftest import Making
from tests.core.evaluations.finished import add_evaluation

BAR = {"metric": "execution_accuracy", "at_least": 0.8, "split": "test"}


def right(count: int) -> list[bool]:
    """So many of ten."""
    return [number < count for number in range(10)]


def three_versions(session: Session, project_id: str, making: Making) -> Adapter:
    make = making(session)
    for _ in range(3):
        make.version()
    return get_adapter(session, project_id, "sql")


def stands_for(session: Session, project_id: str) -> str:
    return resolve_model(session, project_id, "sql@production").name


def history(session: Session, adapter: Adapter) -> list[AliasMove]:
    query = aliases.moves(aliases.get(session, adapter, "production"))
    return list(session.scalars(query.order_by(AliasMove.id)))


def test_without_a_bar_an_alias_is_made_and_moved_at_will(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        for version in (adapter.versions[0], adapter.versions[2], adapter.versions[2]):
            aliases.move(session, adapter, "production", version)
            assert stands_for(session, project_id) == version.address
        assert len(history(session, adapter)) == 2  # to stay is no move


@pytest.mark.parametrize("name", ["", "Production", "a/b", "a" * 64])
def test_an_odd_name_is_refused(
    database: Database, project_id: str, making: Making, name: str
) -> None:
    with database.transaction() as session, pytest.raises(InvalidInput, match="no name"):
        adapter = three_versions(session, project_id, making)
        aliases.move(session, adapter, name, adapter.versions[0])


def test_a_bar_is_met_by_a_finished_evaluation_which_the_move_names(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        shown = add_evaluation(session, project_id, "sql:2", right(8))
        aliases.move(session, adapter, "production", adapter.versions[1], bar=BAR)
        assert stands_for(session, project_id) == "sql:2"
        assert [move.evaluation_id for move in history(session, adapter)] == [shown.id]


def test_a_bar_that_is_not_met_is_refused_with_the_numbers_and_nothing_moves(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        add_evaluation(session, project_id, "sql:1", right(9))
        aliases.move(session, adapter, "production", adapter.versions[0], bar=BAR)
        low = add_evaluation(session, project_id, "sql:2", right(7))
        with pytest.raises(WrongState) as refused:
            aliases.move(session, adapter, "production", adapter.versions[1])
        assert refused.value.code == "bar_not_met"
        for part in ("'sql:2'", "0.7000", "0.8000", low.id, "'test'"):
            assert part in refused.value.message
        assert stands_for(session, project_id) == "sql:1"
        assert len(history(session, adapter)) == 1


def test_without_an_evaluation_on_the_whole_split_a_bar_is_not_met(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        add_evaluation(session, project_id, "sql:1", right(10), split="validation")
        add_evaluation(session, project_id, "sql:1", right(10), status="running")
        with pytest.raises(WrongState, match="POST /v1/evaluations"):
            aliases.move(session, adapter, "production", adapter.versions[0], bar=BAR)
        with pytest.raises(NotFound):
            aliases.get(session, adapter, "production")


def test_a_version_must_not_be_worse_than_what_an_alias_stands_for(
    database: Database, project_id: str, making: Making
) -> None:
    bar = {"metric": "execution_accuracy", "not_worse_than": "production", "split": "test"}
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        first, second, third = adapter.versions
        for version, count in ((first, 6), (second, 5), (third, 6)):
            add_evaluation(session, project_id, version.address, right(count))
        aliases.move(session, adapter, "production", first, bar=bar)  # nothing to be worse than
        with pytest.raises(WrongState, match="0.5000.*'sql:1'.*0.6000"):
            aliases.move(session, adapter, "production", second)
        aliases.move(session, adapter, "production", third)
        assert stands_for(session, project_id) == "sql:3"


def test_a_bar_holds_until_it_is_taken_away(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        add_evaluation(session, project_id, "sql:1", right(9))
        aliases.move(session, adapter, "production", adapter.versions[0], bar=BAR)
        aliases.move(session, adapter, "production", adapter.versions[1], bar=None)
        assert stands_for(session, project_id) == "sql:2"


def test_each_rollback_takes_back_the_last_move_that_stands(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        for version in adapter.versions:
            aliases.move(session, adapter, "production", version)
        seen = []
        for _ in range(2):
            aliases.roll_back(session, adapter, "production")
            seen.append(stands_for(session, project_id))
        assert seen == ["sql:2", "sql:1"]
        with pytest.raises(WrongState) as refused:
            aliases.roll_back(session, adapter, "production")
        assert refused.value.code == "alias_not_rollbackable"
        assert [move.rolled_back for move in history(session, adapter)] == [False, True, True]


def test_a_rollback_asks_for_no_bar_but_for_a_version_that_is_there(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        first, second, _ = adapter.versions
        aliases.move(session, adapter, "production", first)
        add_evaluation(session, project_id, "sql:2", right(9))
        aliases.move(session, adapter, "production", second, bar=BAR)
        aliases.roll_back(session, adapter, "production")
        assert stands_for(session, project_id) == "sql:1"
        aliases.move(session, adapter, "production", second)
        delete_model(session, project_id, "sql:1")
        with pytest.raises(WrongState, match="deleted"):
            aliases.roll_back(session, adapter, "production")


def test_a_version_that_is_deleted_is_not_to_be_had(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        delete_model(session, project_id, "sql:2")
        with pytest.raises(InvalidInput, match="sql:2"):
            aliases.move(session, adapter, "production", adapter.versions[1])


def test_an_alias_that_is_removed_leaves_its_version_and_frees_its_name(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        adapter = three_versions(session, project_id, making)
        aliases.move(session, adapter, "production", adapter.versions[0])
        aliases.remove(session, adapter, "production")
        with pytest.raises(NotFound, match="none yet"):
            aliases.get(session, adapter, "production")
        assert resolve_model(session, project_id, "sql:1").version is not None
        aliases.move(session, adapter, "production", adapter.versions[1])
        assert len(history(session, adapter)) == 1
