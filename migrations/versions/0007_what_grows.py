"""indexes for what is asked again and again

Apart from 0006, which holds the jobs while it changes them.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

STORED = (
    "adapter_versions",
    "artifacts",
    "checkpoints",
    "databases",
    "datasets",
    "files",
    "merged_models",
    "upload_parts",
)
"""Tables whose rows point to files: retention looks for a file's rows in each."""


def upgrade() -> None:
    op.create_index("ix_attempts_outcome_finished_at", "attempts", ["outcome", "finished_at"])
    for table in STORED:
        op.create_index(op.f(f"ix_{table}_storage_key"), table, ["storage_key"])


def downgrade() -> None:
    for table in reversed(STORED):
        op.drop_index(op.f(f"ix_{table}_storage_key"), table_name=table)
    op.drop_index("ix_attempts_outcome_finished_at", table_name="attempts")
