"""How the document describes multipart forms: our reader streams them, so FastAPI sees none."""

from typing import Any

from core.files.purposes import UPLOADED

Schema = dict[str, Any]

BYTES: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
TEXT: Schema = {"type": "string"}
JSON_TEXT: Schema = {"type": "string", "contentMediaType": "application/json"}


def form(required: list[str], **fields: Schema) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a form with these fields."""
    schema = {"type": "object", "properties": fields, "required": required}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


FILE_FORM = form(
    ["purpose", "file"],
    purpose={"enum": list(UPLOADED)},
    file=BYTES,
    **{
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
)
PART_FORM = form(["data"], data=BYTES)
DATASET_FORM = form(
    ["file"],
    file=BYTES,
    name=TEXT,
    database=TEXT,
    format=TEXT,
    mapping=JSON_TEXT,
    sql_dialect=TEXT,
    split=JSON_TEXT,
    drop_bad_rows={"type": "string", "enum": ["true", "false"]},
    model=TEXT,
)
