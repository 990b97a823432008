"""What the tables of every part have in common: one collection, one way to name constraints.

A part with tables of its own has them in a module beside `engine.store.tables`, which imports it: whoever
migrates, copies or backs up asks `metadata` there, and so knows all of them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER, of any size

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
