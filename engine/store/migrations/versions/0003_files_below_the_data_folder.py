"""A stored result names its files below the data folder, so that the folder can move; counters are wide."""

from __future__ import annotations

from pathlib import PurePath

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE = 200  # results at a time: a document may be large

results = sa.table("results", sa.column("result_id", sa.String), sa.column("document", sa.JSON))
COUNTERS = ("studies.id", "instances.id", "decisions.id", "holds.id", "audit_events.id", "deliveries.seq")


def upgrade() -> None:
    connection = op.get_bind()
    last = ""
    while True:
        rows = connection.execute(
            sa.select(results).where(results.c.result_id > last).order_by(results.c.result_id).limit(PAGE)
        ).all()
        if not rows:
            break
        for row in rows:
            artefacts = row.document["report"]["artefacts"]
            if not any(one.get("path") for one in artefacts):
                continue
            for one in artefacts:
                if one.get("path"):  # …/artefacts/<result id>/<name>
                    one["path"] = "/".join(PurePath(one["path"]).parts[-3:])
            connection.execute(
                sa.update(results).where(results.c.result_id == row.result_id).values(document=row.document)
            )
        last = rows[-1].result_id
    if op.get_context().dialect.name == "postgresql":
        # 0002 widened the columns; what counts them up was still as narrow as it was made.
        for counted in COUNTERS:
            table, column = counted.split(".")
            sequence = f"pg_get_serial_sequence('{table}', '{column}')"
            name = connection.exec_driver_sql(f"SELECT {sequence}").scalar_one()
            connection.exec_driver_sql(f"ALTER SEQUENCE {name} AS BIGINT")


def downgrade() -> None:
    raise NotImplementedError("an older release looks for absolute paths; restore the backup made before")
