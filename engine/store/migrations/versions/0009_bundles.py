"""Deliveries that went out together.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bundled",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("bundle_id", sa.String(length=36), nullable=False),
        sa.Column("formed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.delivery_id"],
            name=op.f("fk_bundled_delivery_id_deliveries"),
        ),
        sa.PrimaryKeyConstraint("delivery_id", "bundle_id", name=op.f("pk_bundled")),
    )
    op.create_index("ix_bundled_bundle_id", "bundled", ["bundle_id"])


def downgrade() -> None:
    raise NotImplementedError("an older release knows no bundles; restore the backup made before")
