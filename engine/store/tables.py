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
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from engine.store import bundle_tables as bundle_tables  # tables of the same `metadata`
from engine.store import people_tables as people_tables
from engine.store.metadata import Serial
from engine.store.metadata import metadata as metadata

studies = Table(
    "studies",
    metadata,
    Column("id", Serial, primary_key=True),
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
    Column("purged_at", Float),  # when retention removed its instances; what arrives later is held
    UniqueConstraint("site", "study_instance_uid"),
    Index("ix_studies_state_last_at", "state", "last_at"),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False, index=True),
    Column("site", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the data set, without file meta
    Column("size", Serial, nullable=False),
    Column("path", Text, nullable=False),  # below the instances folder
    Column("attributes", JSON, nullable=False),  # what routing asked for when it arrived
    Column("received_at", Float, nullable=False),
    Column("revision", Integer),  # the study revision that first held it; null while open
    Column("replaced_in", Integer),  # the revision from which a later version stands in its place
    UniqueConstraint("site", "sop_instance_uid", "sha256"),
)

study_holders = Table(  # on a shared database: the open associations and requests that hold a study open
    "study_holders",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("session", String(64), primary_key=True),
    Column("node", String(64), nullable=False),  # the engine that has it
    Column("until", Float, nullable=False),  # what an engine that is gone held is free from then on
)

revisions = Table(
    "revisions",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", String(16), nullable=False, index=True),  # closed | decided | held | ignored | cancelled
    Column("closed_at", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("instances", Integer, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Serial, primary_key=True),
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
    Column("id", Serial, primary_key=True),
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
    Column("state", String(16), nullable=False),  # queued | running | done | failed | superseded | cancelled
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    # Runs whose engine ended before they did.
    Column("crashes", Integer, nullable=False, default=0, server_default="0"),
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
    Column("pending", Integer, nullable=False),  # 1 while something is queued in it, else 0
    Column("due_at", Float, nullable=False),  # also the lease while owned
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False, default=0),
    # Only lanes with something in them: the rest are the history of every study ever sent.
    Index(
        "ix_lanes_waiting",
        "destination",
        "due_at",
        sqlite_where=text("pending > 0"),
        postgresql_where=text("pending > 0"),
    ),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Serial, primary_key=True),  # the order within a lane
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
    # queued | waiting (for `after`, or for a commitment) | delivered | dead | superseded
    # | discarded (a dead letter that a person gave up) | cancelled (with its order)
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
    Column(
        "age_from", Float, nullable=False, server_default="0"
    ),  # what the give-up age counts from: created, or replayed
    Column("stored", JSON),  # identifiers of the parts that the peer has stored and not committed yet
    Column("transaction_uid", String(64)),  # the storage commitment that the delivery waits for
    Column("not_before", Float),  # a schedule: it waits outside its lane until then
    Column("payload", JSON),  # the manifest of the rendered bytes
    Column("reason", Text, nullable=False, default=""),  # latest answer or error
    Column("finished_at", Float),
    Index("ix_deliveries_lane", "destination", "order_key", "state", "seq"),
    Index("ix_deliveries_lineage", "destination", "lineage"),
    Index("ix_deliveries_state", "state", "finished_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    # unknown | delivered | again | refused | stored (and waits for its storage commitment)
    Column("outcome", String(16), nullable=False),
    Column("code", String(64), nullable=False, default=""),
    Column("detail", Text, nullable=False, default=""),
    Column("warning", Text, nullable=False, default=""),
)

destinations = Table(  # what is known of a way out beside its configuration; a row once there is something
    "destinations",
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("paused_at", Float),  # by a person, or by the engine (410 Gone); nothing goes out until resumed
    Column("paused_by", String(128), nullable=False, default="", server_default=""),
    Column("pause_reason", Text, nullable=False, default="", server_default=""),
    Column("breaker", String(16), nullable=False),  # closed | open | half_open
    Column("failures", Integer, nullable=False, default=0),  # in a row, of the destination itself
    Column("opened_at", Float),
    Column("probe_at", Float),  # open: when one delivery may try; half_open: when its lease ends
    Column("openings", Integer, nullable=False, default=0),  # in a row: each waits longer
    Column("next_slot_at", Float, nullable=False, default=0.0),  # rate limit: when the next may start
    Column("last_acknowledged_at", Float),
)

commitments = Table(  # storage commitment as its user (PS3.4 J.3): asked of a peer for a delivery
    "commitments",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("delivery_id", ForeignKey("deliveries.delivery_id"), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("state", String(16), nullable=False),  # requested | committed | failed | expired
    Column("reported_at", Float),
    Column("failed", JSON),  # SOP Instance UID -> Failure Reason (0008,1197)
)

commitment_requests = Table(  # storage commitment as its provider: asked of us by a site
    "commitment_requests",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("site", String(64), nullable=False),
    Column("inbound", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("transaction_uid", String(64), nullable=False),
    Column("references", JSON, nullable=False),  # [[SOP Class UID, SOP Instance UID], …]
    Column("requested_at", Float, nullable=False),
    Column("state", String(16), nullable=False),  # owed | reported | given_up
    Column("due_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("reported_at", Float),
    Column("failed", Integer),  # how many of them could not be committed
    Column("detail", Text, nullable=False, default=""),
    UniqueConstraint("site", "transaction_uid"),
    Index("ix_commitment_requests_owed", "inbound", "state", "due_at"),
)

batches = Table(  # orders that were given together and are reported together
    "batches",
    metadata,
    Column("seq", Serial, primary_key=True),
    Column("batch_id", String(36), nullable=False, unique=True),  # random: what the world knows it by
    Column("site", String(64), nullable=False),
    Column("submitter_kind", String(16), nullable=False),  # channel | client | user
    Column("submitter", String(128), nullable=False),
    Column("name", String(200), nullable=False, default="", server_default=""),
    Column("idempotency_key", String(200)),
    Column("request_digest", String(64), nullable=False, default="", server_default=""),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("submitter_kind", "submitter", "idempotency_key"),
    Index("ix_batches_site", "site", "created_at", "seq"),
)

orders = Table(  # what somebody wants to be done with one study; every study has one at least
    "orders",
    metadata,
    Column("seq", Serial, primary_key=True),
    Column("order_id", String(36), nullable=False, unique=True),  # random: what the world knows it by
    Column("site", String(64), nullable=False),
    Column("submitter_kind", String(16), nullable=False),  # channel | client | user
    Column("submitter", String(128), nullable=False),
    Column("inbound", String(64), nullable=False, default="", server_default=""),
    Column("batch_id", ForeignKey("batches.batch_id")),
    Column("study_id", ForeignKey("studies.id"), index=True),  # null until a study is bound to it
    # The revision that it began with; what came of earlier ones is not its own.
    Column("since_revision", Integer, nullable=False, default=0, server_default="0"),
    # What it is looked for by: from its metadata, or from the first instance of its study.
    Column("study_instance_uid", String(64), nullable=False, default="", server_default=""),
    Column("accession_number", String(64), nullable=False, default="", server_default=""),
    Column("patient_id", String(64), nullable=False, default="", server_default=""),
    Column("patient_name", String(200), nullable=False, default="", server_default=""),
    Column("study_description", String(64), nullable=False, default="", server_default=""),
    # created | receiving | stable | processing | delivered | failed | cancelled | held: `engine.order_state`
    Column("state", String(16), nullable=False),
    Column("overrides", JSON, nullable=False),  # DICOM keyword -> value that stands in the attribute's place
    Column("idempotency_key", String(200)),
    Column("request_digest", String(64), nullable=False, default="", server_default=""),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column(
        "version", Integer, nullable=False, default=1, server_default="1"
    ),  # counts every change: its ETag
    Column("upload_began_at", Float),  # bytes are on their way that are no instances yet
    Column("failure", Text, nullable=False, default="", server_default=""),  # why its upload came to nothing
    Column("failure_result_id", String(36)),  # the failure report of its study, while it has failed
    Column("cancelled_at", Float),
    Column("cancelled_by", String(128), nullable=False, default="", server_default=""),
    UniqueConstraint("submitter_kind", "submitter", "idempotency_key"),
    Index("ix_orders_created", "created_at", "seq"),
    Index("ix_orders_site", "site", "created_at", "seq"),
    Index("ix_orders_site_state", "site", "state", "created_at", "seq"),
    Index("ix_orders_state", "state", "created_at", "seq"),
    Index("ix_orders_submitter", "submitter_kind", "submitter", "created_at", "seq"),
    Index("ix_orders_updated", "updated_at", "seq"),
    # Each order is in one of the two, so that SQLite, which counts nothing beforehand, cannot mistake them.
    Index(
        "ix_orders_batch_id",
        "batch_id",
        sqlite_where=text("batch_id IS NOT NULL"),
        postgresql_where=text("batch_id IS NOT NULL"),
    ),
    Index(
        "ix_orders_alone",
        *("created_at", "seq", "site"),
        sqlite_where=text("batch_id IS NULL"),
        postgresql_where=text("batch_id IS NULL"),
    ),
    # What is searched for, with its place in the list. PostgreSQL looks up beginnings by bytes, whatever the
    # database's collation is.
    *(
        Index(
            f"ix_orders_{name}",
            *(name, "site", "created_at", "seq"),
            postgresql_ops={name: "varchar_pattern_ops"},
        )
        for name in ("accession_number", "patient_id", "study_instance_uid")
    ),
)

order_results = Table(  # which results an order has, in the order in which they were filed
    "order_results",
    metadata,
    Column("seq", Serial, primary_key=True),
    Column("order_id", ForeignKey("orders.order_id"), nullable=False),
    Column("result_id", ForeignKey("results.result_id"), nullable=False, index=True),
    Column("site", String(64), nullable=False),
    Column("filed_at", Float, nullable=False),
    UniqueConstraint("order_id", "result_id"),
    Index("ix_order_results_site", "site", "seq"),
)

retrievals = Table(  # what a reader has acknowledged of a site's results; all else is unretrieved
    "retrievals",
    metadata,
    Column("reader", String(128), primary_key=True),
    Column("seq", ForeignKey("order_results.seq"), primary_key=True, index=True),
    Column("acknowledged_at", Float, nullable=False),
)

retrieval_marks = Table(  # up to which of a site's results a reader has acknowledged every one
    "retrieval_marks",
    metadata,
    Column("reader", String(128), primary_key=True),
    Column("site", String(64), primary_key=True),
    Column("seq", Serial, nullable=False),
)

table_versions = Table(  # every table that an engine ran, with the bytes of its files
    "table_versions",
    metadata,
    Column("version", String(80), primary_key=True),  # `engine.document`: changes with any byte of any file
    Column("main", String(255), nullable=False),  # name of the file that includes the others
    Column("files", JSON, nullable=False),  # path below the table's folder -> text
    Column("first_seen_at", Float, nullable=False),
)

table_changes = Table(  # which of them was made the running one, when, by whom; the last row is it
    "table_changes",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("version", ForeignKey("table_versions.version"), nullable=False),
    Column("at", Float, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(16), nullable=False),  # started | applied | reloaded | rolled back
    Column("message", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
)

engines = Table(  # the processes that run on this database
    "engines",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("table_version", String(80), nullable=False),  # the one it runs
    Column("refused_version", String(80), nullable=False, default="", server_default=""),
    Column("trouble", Text, nullable=False, default="", server_default=""),  # why it could not take that one
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

clients = Table(  # programs that get access tokens (`engine.oauth`); a revoked one stays
    "clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("site", String(64)),  # null: every site
    Column("scopes", JSON, nullable=False),
    Column("secret_hash", String(64), nullable=False),  # SHA-256; empty where it signs
    Column("previous_hash", String(64), nullable=False),  # of the secret before a rotation
    Column("previous_until", Float, nullable=False),
    Column("keys", JSON, nullable=False),  # its public keys (RFC 7517), where it signs
    Column("created_at", Float, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("last_token_at", Float),
    Column("revoked_at", Float),
)

client_assertions = Table(  # assertions of clients that were used (RFC 7523 3, jti), until their end
    "client_assertions",
    metadata,
    Column("client_id", ForeignKey("clients.client_id"), primary_key=True),
    Column("digest", String(64), primary_key=True),  # SHA-256 of the jti
    Column("until", Float, nullable=False, index=True),
)

revoked_tokens = Table(  # access tokens that were called back (RFC 7009), until their end
    "revoked_tokens",
    metadata,
    Column("token_id", String(64), primary_key=True),
    Column("client_id", ForeignKey("clients.client_id"), nullable=False),
    Column("revoked_at", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),
)
