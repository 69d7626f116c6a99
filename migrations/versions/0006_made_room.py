"""what has made room is told from what is paused; batches without files are found by an index"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    # With a default of the database's own, and in place (see 0004).
    op.add_column(
        "jobs", sa.Column("yielded", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.execute(
        "UPDATE jobs SET yielded = true WHERE status = 'paused' AND EXISTS ("
        "SELECT 1 FROM attempts WHERE attempts.job_id = jobs.id AND attempts.token = jobs.token"
        " AND attempts.outcome = 'yielded')"
    )
    op.create_index(
        "ix_jobs_unfinished_batches",
        "jobs",
        ["surface", "status"],
        sqlite_where=sa.text(
            "surface = 'batch' AND json_extract(request, '$.finalized_at') IS NULL"
        ),
        postgresql_where=sa.text("surface = 'batch' AND (request ->> 'finalized_at') IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_unfinished_batches", table_name="jobs")
    op.drop_column("jobs", "yielded")
