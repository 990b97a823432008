"""Orders are found by what they begin with, in the order of the list; alone or in batches; by what changed.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NAMES = ("accession_number", "patient_id", "study_instance_uid")
GROUPED, ALONE = sa.text("batch_id IS NOT NULL"), sa.text("batch_id IS NULL")


def upgrade() -> None:
    for name in NAMES:
        op.drop_index(f"ix_orders_{name}", "orders")
        op.create_index(
            f"ix_orders_{name}",
            "orders",
            [name, "site", "created_at", "seq"],
            postgresql_ops={name: "varchar_pattern_ops"},
        )
    op.drop_index("ix_orders_batch_id", "orders")
    op.create_index(
        "ix_orders_batch_id", "orders", ["batch_id"], sqlite_where=GROUPED, postgresql_where=GROUPED
    )
    op.create_index(
        "ix_orders_alone",
        "orders",
        ["created_at", "seq", "site"],
        sqlite_where=ALONE,
        postgresql_where=ALONE,
    )
    op.create_index("ix_orders_updated", "orders", ["updated_at", "seq"])


def downgrade() -> None:
    raise NotImplementedError("an older release knows no such schema; restore the backup made before")
