"""One text for queries that differ only in how they are written. Knows syntax trees, no database.

The text is for comparing (exact match, duplicates, counting patterns), never for executing: alias
names and letter case are gone. Equal texts mean equal queries; unequal texts mean nothing.
"""

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from core.sql.parse import parse_query
from core.sql.transpile import Transpiled, transpile

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

__all__ = ["Transpiled", "normalise", "skeleton", "transpile"]


@lru_cache(maxsize=8192)
def normalise(sql: str, dialect: str = "sqlite") -> str | None:
    """Canonical text, or None for what is not exactly one query that parses.

    Alike become: case of keywords and names, whitespace, comments, quotes around plain names, `<>`
    and `!=`, ASC, names of aliases, AS, the table's name in front of a column where there is but
    one table. Literals stay as they are.
    """
    tree = parse_query(sql, dialect=dialect)
    if tree is None:
        return None
    try:
        return _canonical(tree).sql(dialect=dialect, comments=False)
    except RecursionError:
        return None


@lru_cache(maxsize=8192)
def skeleton(sql: str, dialect: str = "sqlite") -> str:
    """The pattern of a query: its canonical text with every literal masked, lists of them as one.

    What does not parse is its own pattern: the text with its whitespace folded.
    """
    tree = parse_query(sql, dialect=dialect)
    if tree is None:
        return " ".join(sql.split())
    try:
        tree = _canonical(tree)
        _mask_aliases(tree)
        _mask_literals(tree)
        return tree.sql(dialect=dialect, comments=False)
    except RecursionError:
        return " ".join(sql.split())


def _canonical(tree: "exp.Query") -> "exp.Query":
    """A copy in which names are lower case and unquoted, and aliases canonical or gone."""
    tree = tree.copy()
    _plain_words(tree)
    _table_aliases(tree)
    _column_aliases(tree)
    return tree


def _plain_words(tree: "exp.Query") -> None:
    from sqlglot import exp

    for name in list(tree.find_all(exp.Identifier)):
        # "North West" may be a text in double quotes: its case then matters.
        plain = name.this.isidentifier()
        name.set("this", name.this.lower() if plain else name.this)
        name.set("quoted", not plain)
    for join in tree.find_all(exp.Join):
        if join.kind in ("INNER", "OUTER"):  # JOIN and LEFT JOIN say it already
            join.set("kind", None)
    for key in tree.find_all(exp.Ordered):
        key.set("desc", key.args.get("desc") or None)


def _table_aliases(tree: "exp.Query") -> None:
    """Name tables by themselves where they stand once in the whole query, else t1, t2 … in the
    order of the text; leave the name away before a column of its SELECT's only table."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    tables = list(tree.find_all(exp.Table, bfs=False))
    count = Counter(table.name for table in tables)
    names = {
        id(table): table.name if count[table.name] == 1 else f"t{place}"
        for place, table in enumerate(tables, start=1)
    }
    try:
        scopes = traverse_scope(tree)
        renamed = [found for scope in scopes for found in _renamed(scope, names)]
    except SqlglotError:  # one alias given twice: no database takes it either
        return
    for column, name in renamed:
        column.set("table", exp.to_identifier(name) if name else None)
    for table in tables:
        name = names[id(table)]
        alias = None if name == table.name else exp.TableAlias(this=exp.to_identifier(name))
        table.set("alias", alias)


def _renamed(scope: "Scope", names: dict[int, str]) -> "list[tuple[exp.Column, str]]":
    """The qualified columns of one SELECT, those of its sub-queries that refer to it included."""
    from sqlglot import exp

    sources = {alias: node for alias, (node, _) in scope.selected_sources.items()}
    found = []
    for column in scope.columns:
        node = sources.get(column.table)
        if node is None:
            continue
        if len(sources) == 1 and column.parent_select is scope.expression:
            found.append((column, ""))
        elif isinstance(node, exp.Table):
            found.append((column, names[id(node)]))
    return found


def _column_aliases(tree: "exp.Query") -> None:
    """Drop the names of the outermost columns, which don't count: where only ORDER BY refers to
    one, what it names stands there instead; where anything else does, it stays."""
    from sqlglot import exp

    select = tree.unnest()
    if not isinstance(select, exp.Select):
        return
    named = {column.alias: column for column in select.expressions if isinstance(column, exp.Alias)}
    order = select.args.get("order")
    for column in list(order.find_all(exp.Column)) if order else ():
        if not column.table and column.name in named:
            column.replace(named[column.name].this.copy())
    used = {column.name for column in select.find_all(exp.Column) if not column.table}
    for name, column in named.items():
        if name not in used or _names_itself(column):
            column.replace(column.this)


def _names_itself(column: "exp.Alias") -> bool:
    return column.this.key == "column" and column.this.name == column.alias


def _mask_aliases(tree: "exp.Query") -> None:
    from sqlglot import exp

    aliases = [alias.alias for alias in tree.find_all(exp.Alias, bfs=False)]
    masks = {name: f"a{place}" for place, name in enumerate(dict.fromkeys(aliases), start=1)}
    for node in list(tree.find_all(exp.Alias, exp.Column)):
        part = "alias" if isinstance(node, exp.Alias) else "this"
        name = node.args[part].name
        if name in masks:
            node.set(part, exp.to_identifier(masks[name]))


def _mask_literals(tree: "exp.Query") -> None:
    from sqlglot import exp

    for node in list(tree.find_all(exp.In)):  # first: a list of thousands is one step then
        if node.expressions and all(map(_is_value, node.expressions)):
            node.set("expressions", [exp.Placeholder()])
    for node in list(tree.find_all(exp.Literal, exp.Boolean, exp.Neg)):
        if _is_value(node) and node.parent is not None:
            node.replace(exp.Placeholder())


def _is_value(node: "exp.Expression") -> bool:
    from sqlglot import exp

    inner = node.this if isinstance(node, exp.Neg) else node
    return isinstance(inner, (exp.Literal, exp.Boolean))
