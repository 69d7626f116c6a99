"""Every named error of the product. Knows no HTTP: `api.errors` maps these to status codes."""

from typing import Any

from core.redaction import redact

FAILURE_CLASSES = (
    "user",
    "data",
    "config",
    "oom_gpu",
    "oom_host",
    "disk",
    "timeout",
    "infra",
    "crash",
)


class TuneyardError(Exception):
    """An expected refusal. `message` says what is wrong and what would be right."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param


class InvalidInput(TuneyardError):
    """The request can't be carried out as written; `param` names the field."""

    code = "invalid_input"


class NotFound(TuneyardError):
    """No such thing in the caller's project."""

    code = "not_found"


class Unauthenticated(TuneyardError):
    """No key, or one that is unknown, expired or revoked."""

    code = "invalid_api_key"


class Forbidden(TuneyardError):
    """The key is good but its scopes don't allow this."""

    code = "insufficient_scope"


class TooLarge(TuneyardError):
    """The upload passes a stated bound."""

    code = "too_large"


class WrongState(TuneyardError):
    """The thing exists but is not in a state in which this can be done."""

    code = "wrong_state"


class Conflict(TuneyardError):
    """Another request stands in the way of this one; sending the same again won't help."""

    code = "conflict"


class QuotaExceeded(TuneyardError):
    """The project has as much at once as it may; when less is, this can be done."""

    code = "quota_exceeded"


class Unavailable(TuneyardError):
    """A part that this needs is not there just now; trying again later is right."""

    code = "unavailable"


class ConfigError(TuneyardError):
    """A setting is wrong; the process can't start. Printed as one line, exit code 2."""

    code = "config"


class JobFailure(Exception):
    """Why a job failed: a class out of FAILURE_CLASSES and a sentence that says what to do."""

    def __init__(self, klass: str, message: str, **details: Any) -> None:
        if klass not in FAILURE_CLASSES:
            raise ValueError(f"unknown failure class {klass!r}")
        # It is shown as the job's error, and may tell of what a driver or a library said.
        message = redact(message)
        super().__init__(message)
        self.klass = klass
        self.message = message
        self.details = details
