"""Orders over studies, their batches, and what of their results was retrieved; every study gets its order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The state of an order as this release derived it from what its study had come to.
STATE = """
CASE
  WHEN s.state = 'receiving' THEN 'receiving'
  WHEN EXISTS (SELECT 1 FROM revisions r WHERE r.study_id = s.id AND r.state = 'closed') THEN 'stable'
  WHEN {failed} AND NOT ({under_way}) THEN 'failed'
  WHEN {under_way} AND {failed} THEN 'processing'
  WHEN EXISTS (SELECT 1 FROM holds h WHERE h.study_id = s.id AND h.released_at IS NULL) THEN 'held'
  WHEN {under_way} THEN 'processing'
  ELSE 'delivered'
END
"""
UNDER_WAY = """(
  EXISTS (SELECT 1 FROM jobs j WHERE j.study_id = s.id AND j.state IN ('queued', 'running') AND {live})
  OR EXISTS (SELECT 1 FROM deliveries d WHERE d.study_id = s.id AND d.state IN ('queued', 'waiting'))
)"""
FAILED = """(
  EXISTS (
    SELECT 1 FROM jobs j WHERE j.study_id = s.id AND j.state = 'failed' AND {live} AND NOT EXISTS (
      SELECT 1 FROM jobs l
      WHERE l.study_id = j.study_id AND l.lineage = j.lineage AND l.queued_at > j.queued_at
    ) AND NOT EXISTS (
      SELECT 1 FROM revisions r
      WHERE r.study_id = j.study_id AND r.revision > j.revision AND r.state = 'decided'
    )
  )
  OR EXISTS (
    SELECT 1 FROM deliveries d WHERE d.study_id = s.id AND d.state = 'dead' AND NOT EXISTS (
      SELECT 1 FROM deliveries l
      WHERE l.destination = d.destination AND l.lineage = d.lineage AND l.seq > d.seq
    )
  )
)"""
EVERY_STUDY_GETS_ONE = """
INSERT INTO orders (order_id, site, submitter_kind, submitter, inbound, study_id, since_revision,
  study_instance_uid, state, overrides, created_at, updated_at)
SELECT {random}, s.site, 'channel', s.inbound, s.inbound, s.id, 1,
  s.study_instance_uid, {state}, '{{}}', s.opened_at, s.last_at
FROM studies s ORDER BY s.id
"""
AND_ITS_RESULTS = """
INSERT INTO order_results (order_id, result_id, site, filed_at)
SELECT o.order_id, r.result_id, o.site, r.produced_at
FROM results r JOIN orders o ON o.study_id = r.study_id
WHERE NOT r.shadow ORDER BY r.produced_at, r.result_id
"""
LIVE = {  # a shadow run is nobody's to wait for
    "sqlite": "coalesce(json_extract(j.outcomes, '$[0].shadow'), 0) = 0",
    "postgresql": "NOT coalesce(CAST(j.outcomes #>> '{0,shadow}' AS boolean), false)",
}
RANDOM = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "replace(gen_random_uuid()::text, '-', '')"}


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("seq", Serial, nullable=False),
        sa.Column("batch_id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("submitter_kind", sa.String(length=16), nullable=False),
        sa.Column("submitter", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_batches")),
        sa.UniqueConstraint("batch_id", name=op.f("uq_batches_batch_id")),
        sa.UniqueConstraint(
            "submitter_kind", "submitter", "idempotency_key", name=op.f("uq_batches_submitter_kind")
        ),
    )
    op.create_index("ix_batches_site", "batches", ["site", "created_at", "seq"], unique=False)
    op.create_table(
        "retrieval_marks",
        sa.Column("reader", sa.String(length=128), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("seq", Serial, nullable=False),
        sa.PrimaryKeyConstraint("reader", "site", name=op.f("pk_retrieval_marks")),
    )
    op.create_table(
        "orders",
        sa.Column("seq", Serial, nullable=False),
        sa.Column("order_id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("submitter_kind", sa.String(length=16), nullable=False),
        sa.Column("submitter", sa.String(length=128), nullable=False),
        sa.Column("inbound", sa.String(length=64), server_default="", nullable=False),
        sa.Column("batch_id", sa.String(length=36), nullable=True),
        sa.Column("study_id", Serial, nullable=True),
        sa.Column("since_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), server_default="", nullable=False),
        sa.Column("accession_number", sa.String(length=64), server_default="", nullable=False),
        sa.Column("patient_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("patient_name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("study_description", sa.String(length=64), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("upload_began_at", sa.Float(), nullable=True),
        sa.Column("failure", sa.Text(), server_default="", nullable=False),
        sa.Column("failure_result_id", sa.String(length=36), nullable=True),
        sa.Column("cancelled_at", sa.Float(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=128), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_orders_batch_id_batches")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_orders_study_id_studies")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_orders")),
        sa.UniqueConstraint("order_id", name=op.f("uq_orders_order_id")),
        sa.UniqueConstraint(
            "submitter_kind", "submitter", "idempotency_key", name=op.f("uq_orders_submitter_kind")
        ),
    )
    op.create_index(
        "ix_orders_accession_number",
        "orders",
        ["accession_number", "site"],
        unique=False,
        postgresql_ops={"accession_number": "varchar_pattern_ops"},
    )
    op.create_index(op.f("ix_orders_batch_id"), "orders", ["batch_id"], unique=False)
    op.create_index("ix_orders_created", "orders", ["created_at", "seq"], unique=False)
    op.create_index(
        "ix_orders_patient_id",
        "orders",
        ["patient_id", "site"],
        unique=False,
        postgresql_ops={"patient_id": "varchar_pattern_ops"},
    )
    op.create_index("ix_orders_site", "orders", ["site", "created_at", "seq"], unique=False)
    op.create_index("ix_orders_site_state", "orders", ["site", "state", "created_at", "seq"], unique=False)
    op.create_index("ix_orders_state", "orders", ["state", "created_at", "seq"], unique=False)
    op.create_index(op.f("ix_orders_study_id"), "orders", ["study_id"], unique=False)
    op.create_index("ix_orders_study_instance_uid", "orders", ["study_instance_uid", "site"], unique=False)
    op.create_index(
        "ix_orders_submitter", "orders", ["submitter_kind", "submitter", "created_at", "seq"], unique=False
    )
    op.create_table(
        "order_results",
        sa.Column("seq", Serial, nullable=False),
        sa.Column("order_id", sa.String(length=36), nullable=False),
        sa.Column("result_id", sa.String(length=36), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("filed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.order_id"], name=op.f("fk_order_results_order_id_orders")
        ),
        sa.ForeignKeyConstraint(
            ["result_id"], ["results.result_id"], name=op.f("fk_order_results_result_id_results")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_order_results")),
        sa.UniqueConstraint("order_id", "result_id", name=op.f("uq_order_results_order_id")),
    )
    op.create_index(op.f("ix_order_results_result_id"), "order_results", ["result_id"], unique=False)
    op.create_index("ix_order_results_site", "order_results", ["site", "seq"], unique=False)
    op.create_table(
        "retrievals",
        sa.Column("reader", sa.String(length=128), nullable=False),
        sa.Column("seq", Serial, nullable=False),
        sa.Column("acknowledged_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["order_results.seq"], name=op.f("fk_retrievals_seq_order_results")),
        sa.PrimaryKeyConstraint("reader", "seq", name=op.f("pk_retrievals")),
    )
    op.create_index(op.f("ix_retrievals_seq"), "retrievals", ["seq"], unique=False)
    dialect = op.get_context().dialect.name
    live, random = LIVE[dialect], RANDOM[dialect]
    state = STATE.format(under_way=UNDER_WAY.format(live=live), failed=FAILED.format(live=live))
    op.execute(EVERY_STUDY_GETS_ONE.format(random=random, state=state))
    op.execute(AND_ITS_RESULTS)


def downgrade() -> None:
    raise NotImplementedError("an older release knows no orders; restore the backup made before")
