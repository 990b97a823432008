"""The table of deliveries that went out together (`engine.store.bundles`)."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, String, Table

from engine.store.metadata import metadata

bundled = Table(
    "bundled",
    metadata,
    Column("delivery_id", ForeignKey("deliveries.delivery_id"), primary_key=True),
    Column("bundle_id", String(36), primary_key=True, index=True),
    Column("formed_at", Float, nullable=False),
)
