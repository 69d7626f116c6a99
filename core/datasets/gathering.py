"""The rows of a dataset's files: each is judged, and entered or reported. Knows no job.

Holds nothing of the rows themselves: good ones go into the spool, a few numbers of each into the
ledger, what is wrong with the others into the report.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from core.datasets.convert import answer_path, to_examples
from core.datasets.examples import BadRow, Example
from core.datasets.gold import Gold, GoldChecker
from core.datasets.ledger import Ledger
from core.datasets.plan import Plan
from core.datasets.problems import Problem, Report
from core.datasets.rows import Row, row_id
from core.datasets.store import Spool

SAMPLE_ROWS = 50  # columns are found in the first rows that can be read


class NothingToRead(Exception):
    """A file has no row that can be read; the report says why."""


@dataclass
class Gathering:
    """Where rows go. `begin` each file, `sample` its first rows, then `take` all of them."""

    spool: Spool
    report: Report = field(default_factory=Report)
    ledger: Ledger = field(default_factory=Ledger)
    sources: list[str | None] = field(default_factory=list)

    def begin(self, file: str | None) -> None:
        """The rows from now on are those of another file, so named in the report."""
        self.sources.append(file)
        self.report.file = file

    def sample(self, rows: Iterator[Row]) -> list[Row]:
        """The first rows that can be read, or `NothingToRead`; those before them that can't are
        reported."""
        sample: list[Row] = []
        row = None
        for row in rows:
            if row.value is None:
                self._refuse(row, [row.problem])
            else:
                sample.append(row)
            if len(sample) == SAMPLE_ROWS:
                break
        if row is None:
            self.report.add(Problem("no_rows", "the file has no rows; one at least is right"))
        if not sample:
            raise NothingToRead
        return sample

    def take(self, rows: Iterable[Row], plan: Plan, gold: GoldChecker | None) -> None:
        """Judge each row; enter the examples of the good ones."""
        for row in rows:
            if row.value is None:
                self._refuse(row, [row.problem])
                continue
            try:
                examples = to_examples(row.line, row.value, plan.columns, split=plan.split)
                judged = [self._judge(example, plan, gold) for example in examples]
            except BadRow as bad:
                self._refuse(row, bad.problems)
                continue
            self.report.rows += 1
            identity = row_id(row.value, except_for=plan.columns.roles.values())
            for example, sql in judged:
                self.ledger.add(
                    example,
                    row=self.report.rows,
                    sql=sql and sql.normal,
                    row_id=identity,
                    source=len(self.sources) - 1,
                )
                self.spool.add(example, sql and sql.figures)

    def end(self) -> None:
        """All rows are in: the ledger is closed, and ids that came twice are reported."""
        self.report.file = None
        self.ledger.close()
        for source, first, later in self.ledger.repeated_ids():
            message = f"this row has the id of line {first}; give each row its own, or none"
            file = self.sources[source]
            self.report.add(Problem("duplicate_id", message, later, "$.id", file=file))
            self.report.reject(later)

    def _judge(
        self, example: Example, plan: Plan, gold: GoldChecker | None
    ) -> tuple[Example, Gold | None]:
        """The example as it is kept, and what is known of its SQL. Raises `BadRow`."""
        if gold is None:
            return example, None
        path = answer_path(example, plan.columns)
        example, judged = gold.judge(example, path)
        for problem in judged.warnings_at(example.line, path):
            self.report.add(problem)
        return example, judged

    def _refuse(self, row: Row, problems: list[Problem]) -> None:
        for problem in problems:
            self.report.add(problem)
        if row.line:  # 0: the file itself is at fault
            self.report.rows += 1
            self.report.reject(row.line)
