"""answers kept under idempotency keys; what the keeper and the attempts did, for /metrics"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_idempotency_keys_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])
    op.create_table(
        "keeper_runs",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_keeper_runs")),
    )
    # With defaults of the database's own: processes of the version before go on inserting rows.
    # Without batch mode: adding a column is the one change that SQLite makes in place.
    zero = sa.text("0")
    op.add_column("attempts", sa.Column("failure", sa.String(), nullable=True))
    op.add_column(
        "attempts", sa.Column("checkpoints", sa.Integer(), nullable=False, server_default=zero)
    )
    op.add_column(
        "attempts",
        sa.Column("checkpoint_bytes", sa.BigInteger(), nullable=False, server_default=zero),
    )
    op.add_column(
        "attempts",
        sa.Column("checkpoint_seconds", sa.Double(), nullable=False, server_default=zero),
    )


def downgrade() -> None:
    for name in ("checkpoint_seconds", "checkpoint_bytes", "checkpoints", "failure"):
        op.drop_column("attempts", name)
    op.drop_table("keeper_runs")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
