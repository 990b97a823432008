"""What engines that share a database hold open and run; versions of the table; schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "study_holders",
        sa.Column("study_id", Serial, nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_holders_study_id_studies")),
        sa.PrimaryKeyConstraint("study_id", "session", name=op.f("pk_study_holders")),
    )
    op.create_table(
        "table_versions",
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("main", sa.String(length=255), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_table_versions")),
    )
    op.create_table(
        "table_changes",
        sa.Column("id", Serial, nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["table_versions.version"], name=op.f("fk_table_changes_version_table_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_table_changes")),
    )
    op.create_table(
        "engines",
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("table_version", sa.String(length=80), nullable=False),
        sa.Column("refused_version", sa.String(length=80), nullable=False, server_default=""),
        sa.Column("trouble", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_engines")),
    )
    op.add_column("deliveries", sa.Column("not_before", sa.Float(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("an older release knows no versions of a table; restore the backup made before")
