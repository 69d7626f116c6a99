"""How hard a query is, by the rules of Spider's evaluation script. Knows syntax trees only.

The components of the outermost query are counted as `eval_hardness` of taoyds/spider does, on
sqlglot's tree instead of its own parser's. Only the leftmost SELECT of a set operation counts; the
rest of it is one nested query. Odd as it looks, a NOT before a condition's operator counts as an
aggregate, and so does every AND or OR of HAVING: that is how the published shares came about.

Deviations, all where the script can't parse: any aggregate counts, not five; one inside a call or
arithmetic counts once a column; brackets around conditions are looked through; every join counts;
EXISTS and a sub-query among the columns count as nested; a WITH query is judged by its main SELECT,
and each of its CTEs counts as nested.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from core.sql.parse import parse_query

if TYPE_CHECKING:
    from sqlglot import exp

HARDNESSES = ("easy", "medium", "hard", "extra")


@lru_cache(maxsize=8192)
def hardness(sql: str, dialect: str = "sqlite") -> str:
    """ "easy", "medium", "hard" or "extra"; what does not parse is "extra"."""
    tree = parse_query(sql, dialect=dialect)
    if tree is None:
        return "extra"
    try:
        return _judged(tree)
    except RecursionError:
        return "extra"


def _judged(tree: "exp.Query") -> str:
    first, others = _leftmost(tree)
    structure, nested, extent = _structure(first), others + _nested(tree, first), _extent(first)
    if structure <= 1 and extent == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((extent <= 2 and structure <= 1) or (structure <= 2 and extent < 2)):
        return "medium"
    if (
        (nested == 0 and extent > 2 and structure <= 2)
        or (nested == 0 and structure == 3 and extent <= 2)
        or (structure <= 1 and extent == 0 and nested <= 1)
    ):
        return "hard"
    return "extra"


def _leftmost(tree: "exp.Query") -> "tuple[exp.Expression, int]":
    """The first SELECT, and 1 if it is part of a set operation, else 0."""
    from sqlglot import exp

    inner = tree.unnest()
    if not isinstance(inner, exp.SetOperation):
        return inner, 0
    while isinstance(inner, exp.SetOperation):
        inner = inner.this.unnest()
    return inner, 1


def _structure(select: "exp.Expression") -> int:
    """The script's component 1: where, group, order, limit, joins, OR, LIKE."""
    from sqlglot import exp

    counted = ("where", "group", "order", "limit")
    clauses = sum(select.args.get(name) is not None for name in counted)
    connectors, conditions = _all_conditions(select)
    ors = sum(connector == "or" for connector in connectors)
    likes = sum(isinstance(_bare(condition), exp.Like) for condition in conditions)
    return clauses + len(select.args.get("joins") or ()) + ors + likes


def _nested(tree: "exp.Query", select: "exp.Expression") -> int:
    """Component 2 without the set operation: sub-queries in conditions and columns, CTEs."""
    from sqlglot import exp

    holders = [*_all_conditions(select)[1], *select.expressions]
    found = sum(_outermost_queries(holder) for holder in holders)
    with_ = tree.args.get("with_") or select.args.get("with_")
    return found + (len(with_.expressions) if isinstance(with_, exp.With) else 0)


def _outermost_queries(node: "exp.Expression") -> int:
    from sqlglot import exp

    if isinstance(node, (exp.Select, exp.SetOperation)):
        return 1
    return sum(_outermost_queries(child) for child in node.iter_expressions())


def _extent(select: "exp.Expression") -> int:
    """The script's "others": several aggregates, columns, conditions, grouping columns."""
    group, order = select.args.get("group"), select.args.get("order")
    aggregates = sum(_has_aggregate(column) for column in select.expressions)
    aggregates += sum(_has_aggregate(key) for key in (order.expressions if order else ()))
    _, where = _conditions(_this(select, "where"))
    having_connectors, having = _conditions(_this(select, "having"))
    aggregates += sum(_is_negated(condition) for condition in [*where, *having])
    aggregates += len(having_connectors)
    return (
        (aggregates > 1)
        + (len(select.expressions) > 1)
        + (len(where) > 1)
        + (group is not None and len(group.expressions) > 1)
    )


def _all_conditions(select: "exp.Expression") -> "tuple[list[str], list[exp.Expression]]":
    """Connectors and conditions of ON, WHERE and HAVING together."""
    joins = [join.args.get("on") for join in select.args.get("joins") or ()]
    connectors, conditions = [], []
    for condition in [*joins, _this(select, "where"), _this(select, "having")]:
        found = _conditions(condition)
        connectors += found[0]
        conditions += found[1]
    return connectors, conditions


def _conditions(condition: "exp.Expression | None") -> "tuple[list[str], list[exp.Expression]]":
    """A tree of AND and OR, flattened: its connectors, and what they connect."""
    from sqlglot import exp

    if condition is None:
        return [], []
    inner = condition.unnest()
    if not isinstance(inner, (exp.And, exp.Or)):
        return [], [inner]
    left, right = _conditions(inner.left), _conditions(inner.right)
    return [*left[0], inner.key, *right[0]], [*left[1], *right[1]]


def _this(select: "exp.Expression", clause: str) -> "exp.Expression | None":
    node = select.args.get(clause)
    return None if node is None else node.this


def _is_negated(condition: "exp.Expression") -> bool:
    from sqlglot import exp

    return isinstance(condition, exp.Not) or bool(condition.args.get("negate"))


def _bare(condition: "exp.Expression") -> "exp.Expression":
    from sqlglot import exp

    while isinstance(condition, (exp.Not, exp.Paren)):
        condition = condition.this
    return condition


def _has_aggregate(node: "exp.Expression") -> bool:
    """Whether it calls an aggregate itself; a sub-query's own don't count."""
    from sqlglot import exp

    if isinstance(node, (exp.Select, exp.SetOperation)):
        return False
    return isinstance(node, exp.AggFunc) or any(map(_has_aggregate, node.iter_expressions()))
