"""Delivery guarantees: destinations, storage commitment, retention, and lanes that only hold what waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OF_A_STUDY = ("instances", "revisions", "decisions", "holds", "jobs", "results", "deliveries")


def upgrade() -> None:
    op.create_table(
        "commitment_requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("inbound", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("called_ae_title", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("references", sa.JSON(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reported_at", sa.Float(), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_requests")),
        sa.UniqueConstraint("site", "transaction_uid", name=op.f("uq_commitment_requests_site")),
    )
    with op.batch_alter_table("commitment_requests", schema=None) as batch_op:
        batch_op.create_index("ix_commitment_requests_owed", ["inbound", "state", "due_at"], unique=False)

    op.create_table(
        "destinations",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=True),
        sa.Column("paused_by", sa.String(length=128), server_default="", nullable=False),
        sa.Column("pause_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("breaker", sa.String(length=16), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=True),
        sa.Column("probe_at", sa.Float(), nullable=True),
        sa.Column("openings", sa.Integer(), nullable=False),
        sa.Column("next_slot_at", sa.Float(), nullable=False),
        sa.Column("last_acknowledged_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_destinations")),
    )
    op.create_table(
        "commitments",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reported_at", sa.Float(), nullable=True),
        sa.Column("failed", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.delivery_id"], name=op.f("fk_commitments_delivery_id_deliveries")
        ),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitments")),
    )
    with op.batch_alter_table("commitments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitments_delivery_id"), ["delivery_id"], unique=False)

    # Columns are added as they are: a copied table would take its children with it on SQLite.
    op.add_column("deliveries", sa.Column("age_from", sa.Float(), nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("stored", sa.JSON(), nullable=True))
    op.add_column("deliveries", sa.Column("transaction_uid", sa.String(length=64), nullable=True))
    op.create_index("ix_deliveries_state", "deliveries", ["state", "finished_at"])
    op.add_column("jobs", sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("purged_at", sa.Float(), nullable=True))
    op.drop_index("ix_lanes_destination_due_at", "lanes")
    op.create_index(
        "ix_lanes_waiting",
        "lanes",
        ["destination", "due_at"],
        sqlite_where=sa.text("pending > 0"),
        postgresql_where=sa.text("pending > 0"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("instances", "size", type_=sa.BigInteger())
        for table, column in (
            ("studies", "id"),
            ("instances", "id"),
            ("decisions", "id"),
            ("holds", "id"),
            ("audit_events", "id"),
            ("deliveries", "seq"),
            *((table, "study_id") for table in OF_A_STUDY),
        ):
            op.alter_column(table, column, type_=sa.BigInteger())
    _carry_over()


def _carry_over() -> None:
    """What waited by `after:` held its lane for ever; it waits outside of it now. The next start wakes it."""
    run = op.get_bind().exec_driver_sql
    run("UPDATE deliveries SET age_from = created_at")
    run("UPDATE deliveries SET state = 'waiting' WHERE state = 'queued' AND CAST(after AS TEXT) <> '[]'")
    run(
        "UPDATE lanes SET due_at = 0, owner = NULL, pending = CASE WHEN EXISTS ("
        " SELECT 1 FROM deliveries WHERE deliveries.destination = lanes.destination"
        " AND deliveries.order_key = lanes.order_key AND deliveries.state = 'queued') THEN 1 ELSE 0 END"
    )


def downgrade() -> None:
    raise NotImplementedError("an older release does not know these tables; restore the backup made before")
