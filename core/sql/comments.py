"""Takes the comments out of the text of a CREATE TABLE. Knows SQL's tokens, no database."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|'(?:[^']|'')*'|[^\W\d][\w$]*)
      | (?P<newline>\n)
      | (?P<mark>[(),])
      | (?P<other>\S)""",
    re.VERBOSE | re.DOTALL,
)
_CONSTRAINTS = {"constraint", "primary", "unique", "check", "foreign"}
_LONGEST = 200  # characters kept of one comment: it stands in every prompt


@dataclass
class _Reader:
    """Where the reading stands: nesting depth, the column at hand, comments not yet given away."""

    depth: int = 0
    column: str | None = None  # the last one named
    expects_name: bool = False
    code_on_line: bool = False
    waiting: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def comment(self, text: str) -> None:
        text = text.removesuffix("*/").strip("-/* \t\r\n")
        if not text:
            return
        if self.code_on_line and self.column:  # behind a column, on its line: about that column
            self.columns[self.column].append(text)
        elif self.column is None and (self.depth == 0 or self.code_on_line):
            self.table.append(text)
        else:  # on a line of its own: about what comes next
            self.waiting.append(text)

    def name(self, text: str) -> None:
        if self.depth == 1 and self.expects_name:
            self.expects_name = False
            if text.lower() in _CONSTRAINTS:
                return
            self.column = _unquoted(text)
            self.columns[self.column] = self.waiting
            self.waiting = []

    def mark(self, text: str) -> None:
        if text == "(":
            self.depth += 1
            self.expects_name = self.depth == 1
        elif text == ")":
            self.depth -= 1
        elif self.depth == 1:
            self.expects_name = True


def comments_of(ddl: str) -> tuple[str, dict[str, str]]:
    """(the table's comment, comment by column name) of one CREATE TABLE statement.

    A comment at the end of a column's line, or on its own line above it, is about that column; one
    before the first column, on the line of the opening bracket, is about the table.
    """
    reader = _Reader()
    for token in _TOKEN.finditer(ddl):
        kind, text = token.lastgroup, token.group()
        if kind == "comment":
            reader.comment(text)
        elif kind == "newline":
            reader.code_on_line = False
        else:
            reader.code_on_line = True
            if kind == "name":
                reader.name(text)
            elif kind == "mark":
                reader.mark(text)
    columns = {name: _joined(parts) for name, parts in reader.columns.items() if parts}
    return _joined(reader.table), columns


def _unquoted(name: str) -> str:
    if name[0] in "\"`'":
        return name[1:-1].replace(name[0] * 2, name[0])
    return name[1:-1] if name[0] == "[" else name


def _joined(parts: list[str]) -> str:
    return " ".join(" ".join(parts).split())[:_LONGEST]
