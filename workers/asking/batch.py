"""A batch on its way through the engine: lines become requests as it wants them, answers rows.

In memory are only the lines that are being answered. Knows the context; no model and no form.
"""

from collections.abc import Iterator
from typing import Any

from workers.asking.form import Form, Refused, Row
from workers.asking.spool import Spool
from workers.context import Context
from workers.ml.generation import Completion, Request


class Batch:
    """`spool`: where the rows are kept too, if they are wanted in order."""

    def __init__(self, ctx: Context, form: Form, total: int, *, spool: Spool | None) -> None:
        self.total = total
        self.done = self.resumed = len(ctx.done_rows)
        self._ctx = ctx
        self._form = form
        self._spool = spool
        self._asked: dict[int, tuple[Request, Any, list[Completion]]] = {}
        for index, row in ctx.previous_rows():
            self._keep(index, row)

    def requests(self) -> Iterator[Request]:
        """What has no row yet, read on as it is asked for."""
        for index, asked in self._form.read(self._ctx.inputs["questions"]):
            if index in self._ctx.done_rows:
                continue
            request = asked
            if not isinstance(asked, Refused):
                request = self._form.request(index, asked)
            if isinstance(request, Refused):
                self._finish(index, request.row)
                continue
            self._asked[index] = (request, asked, [])
            yield request

    def take(self, completion: Completion) -> None:
        """One of a line's answers; with the last one, or an error, the line has its row."""
        request, asked, answers = self._asked[completion.id]
        if completion.error is not None:
            answers.clear()
        answers.append(completion)
        if completion.error is None and len(answers) < request.sampling.n:
            return
        del self._asked[completion.id]
        answers.sort(key=lambda one: one.index)
        self._finish(completion.id, self._form.row(asked, answers))

    def report(self, requests_per_second: float) -> None:
        left = self.total - self.done
        self._ctx.progress(
            self.done,
            self.total,
            failed=self._form.failed,
            requests_per_second=requests_per_second,
            eta_seconds=round(left / requests_per_second, 1) if requests_per_second else None,
        )

    def _finish(self, index: int, row: Row) -> None:
        self.done += 1
        self._keep(index, row)
        self._ctx.row(index, row)

    def _keep(self, index: int, row: Row) -> None:
        self._form.count(row)
        if self._spool is not None:
            self._spool.add(index, row)
