"""what trainings have shown of the memory that groups take"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "memory_lessons",
        # SQLite numbers rows by itself only under the very type INTEGER.
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("quantization", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("need_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fitted", sa.Boolean(), nullable=False),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memory_lessons")),
    )
    op.create_index(op.f("ix_memory_lessons_base_model"), "memory_lessons", ["base_model"])


def downgrade() -> None:
    op.drop_index(op.f("ix_memory_lessons_base_model"), table_name="memory_lessons")
    op.drop_table("memory_lessons")
