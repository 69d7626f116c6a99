"""What a caller is told of a question that the model has no answer to. Knows no HTTP."""


def code_and_field(klass: str, asks_by: str) -> tuple[str, str]:
    """For a problem's class (`workers.ml.generation`) the error's code, and the field of the
    request that is at fault; `asks_by` is the one that holds the question."""
    if klass == "not_finite":
        return "model_not_finite", "model"
    return "context_length_exceeded", asks_by
