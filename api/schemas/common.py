"""Shapes that every resource shares."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from core.chat.fields import Text
from core.jobs.types.base import Params
from core.pages import Page

Item = TypeVar("Item")

Metadata = Annotated[
    dict[
        Annotated[Text, Field(min_length=1, max_length=64)],
        Annotated[Text, Field(max_length=512)],
    ],
    Field(max_length=16),
]
"""OpenAI's: up to 16 pairs of the customer's own words."""


class Shape(BaseModel):
    model_config = ConfigDict(from_attributes=True, protected_namespaces=())


class Body(Params):
    """What a request says in JSON, under the rules of a job's parameters."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorDetail


class ListBody(BaseModel, Generic[Item]):
    """A keyset page: `after=<last_id>` brings the next one while `has_more`."""

    object: str = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None


def list_body(page: Page, shape: Any, *, key: str = "id") -> dict[str, Any]:
    """The body of a page: `shape` makes an item of a row."""
    ids = [str(getattr(row, key)) for row in page.rows]
    return {
        "object": "list",
        "data": [shape(row) for row in page.rows],
        "has_more": page.has_more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def whole_list(items: list[Any]) -> ListBody[Any]:
    """The body of a list that is not paged, of things that have an `id`."""
    ids = [item.id for item in items]
    return ListBody(
        data=items,
        has_more=False,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
    )


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request can't be carried out as written."},
    401: {"model": ErrorBody, "description": "No key, or one that is not good."},
    403: {"model": ErrorBody, "description": "The key's scopes don't allow this."},
    404: {"model": ErrorBody, "description": "No such thing in this project."},
    409: {"model": ErrorBody, "description": "Another request stands in this one's way."},
    413: {"model": ErrorBody, "description": "The body is larger than it may be."},
    429: {"model": ErrorBody, "description": "The project's quota, or a bound, is used up."},
    503: {"model": ErrorBody, "description": "A part of the platform does not answer."},
}
