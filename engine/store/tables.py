"""The tables, one set for both dialects (SQLAlchemy Core).

Times are seconds since the epoch (see engine.clock). States are words, listed beside each column.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # receiving | stable
    Column("revision", Integer, nullable=False),  # the last closed one; 0 before the first
    Column("inbound", String(64), nullable=False),  # of the latest instance, as are the titles
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("remote_address", String(64), nullable=False),
    Column("opened_at", Float, nullable=False),  # first instance of the open revision
    Column("last_at", Float, nullable=False),  # latest new instance
    Column("duplicates", Integer, nullable=False, default=0),
    UniqueConstraint("site", "study_instance_uid"),
    Index("ix_studies_state_last_at", "state", "last_at"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("site", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the data set, without file meta
    Column("size", Integer, nullable=False),
    Column("path", Text, nullable=False),  # below the instances folder
    Column("attributes", JSON, nullable=False),  # what routing asked for when it arrived
    Column("received_at", Float, nullable=False),
    Column("revision", Integer),  # the study revision that first held it; null while open
    Column("replaced_in", Integer),  # the revision from which a later version stands in its place
    UniqueConstraint("site", "sop_instance_uid", "sha256"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", String(16), nullable=False, index=True),  # closed | decided | held | ignored
    Column("closed_at", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("instances", Integer, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("table_version", String(80), nullable=False),
    Column("decided_at", Float, nullable=False),
    Column("decision", JSON, nullable=False),
    Index("ix_decisions_study_id_revision", "study_id", "revision"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("held_at", Float, nullable=False),
    Column("released_at", Float),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("processor", String(64), nullable=False),
    Column("lineage", String(200), nullable=False),  # whose result supersedes whose
    Column("outcomes", JSON, nullable=False),  # the route outcomes that share this run
    Column("state", String(16), nullable=False),  # queued | running | done | failed | superseded
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("queued_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("detail", Text, nullable=False, default=""),
    Index("ix_jobs_state_due_at", "state", "due_at"),
)

results = Table(
    "results",
    metadata,
    Column("result_id", String(36), primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("study_revision", Integer, nullable=False),
    Column("lineage", String(200), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("supersedes", String(36)),
    Column("shadow", Boolean, nullable=False),
    Column("produced_at", Float, nullable=False),
    Column("document", JSON, nullable=False),
)

lanes = Table(
    "lanes",
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("order_key", String(200), primary_key=True),
    Column("pending", Integer, nullable=False),
    Column("due_at", Float, nullable=False),  # also the lease while owned
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False, default=0),
    Index("ix_lanes_destination_due_at", "destination", "due_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Integer, primary_key=True),  # the order within a lane
    Column("delivery_id", String(36), nullable=False, unique=True),
    Column("destination", String(64), nullable=False),
    Column("order_key", String(200), nullable=False),
    Column("lineage", String(200), nullable=False),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("study_revision", Integer, nullable=False),
    Column("result_id", ForeignKey("results.result_id"), index=True),  # null: the study itself
    Column("status", String(16), nullable=False),  # of the result; "study" for a study
    Column("transform", JSON, nullable=False),
    Column("after", JSON, nullable=False),  # destinations that must acknowledge first
    Column("state", String(16), nullable=False),  # queued | delivered | dead | superseded
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
    Column("payload", JSON),  # the manifest of the rendered bytes
    Column("reason", Text, nullable=False, default=""),  # latest answer or error
    Column("finished_at", Float),
    Index("ix_deliveries_lane", "destination", "order_key", "state", "seq"),
    Index("ix_deliveries_lineage", "destination", "lineage"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", String(16), nullable=False),  # unknown | delivered | again | refused
    Column("code", String(64), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("warning", Text, nullable=False, default=""),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
