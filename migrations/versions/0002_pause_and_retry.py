"""pause and retry"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    # Added in place: a copy of the table, as a batch makes it, would break what points to it. The
    # default is for processes of the version before, which go on during an upgrade.
    op.add_column("jobs", sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("retry_of", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "retry_of")
    op.drop_column("jobs", "retries")
