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
    def _known(cls, given: Any) -> Any:
        """Pydantic refuses it by itself, but knows no other name for it. One is enough to name: a
        comparison with all fields takes its time, and a body may have many."""
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                error = InitErrorDetails(type=_unknown(name, cls), loc=(name,), input=given[name])
                raise ValidationError.from_exception_data(cls.__name__, [error])
        return given


def _unknown(name: str, model: type[BaseModel]) -> PydanticCustomError:
    """Under pydantic's own code."""
    near = get_close_matches(name[:100], model.model_fields, n=1)
    if not near:
        return PydanticCustomError("extra_forbidden", "no such field")
    meant = {"near": near[0]}
    return PydanticCustomError("extra_forbidden", "no such field; perhaps {near} is meant", meant)
