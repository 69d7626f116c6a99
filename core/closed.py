"""A model that takes no field which it does not have, and says which one may be meant."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Closed(BaseModel):
    """What a request says: a field that is misspelt must not be left out in silence."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _spelt(cls, given: Any) -> Any:
        """Pydantic refuses what it does not know, after all else; but of a misspelt field it says
        the right one is missing. Only the first is looked at: a comparison with all fields takes
        its time, and a body may have many."""
        names = given if isinstance(given, dict) else ()
        name = next((name for name in names if name not in cls.model_fields), None)
        near = get_close_matches(name[:100], cls.model_fields, n=1) if name else []
        if near:
            error = InitErrorDetails(type=_misspelt(near[0]), loc=(name,), input=given[name])
            raise ValidationError.from_exception_data(cls.__name__, [error])
        return given


def _misspelt(near: str) -> PydanticCustomError:
    """Under pydantic's own code."""
    words = "no such field; perhaps {near} is meant"
    return PydanticCustomError("extra_forbidden", words, {"near": near})
