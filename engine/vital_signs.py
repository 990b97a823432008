"""What the engine measures of itself beside the counts in its database, as Prometheus samples.

They are there when the database is not.
"""

from __future__ import annotations

from engine.disk import Disk, State
from engine.intake import DurableIntake
from engine.retention import Retention
from engine.spool import Spool
from engine.store.watch import DatabaseWatch


def measured(
    intake: DurableIntake, spool: Spool, disk: Disk, watch: DatabaseWatch, retention: Retention
) -> dict[str, float]:
    """Samples of this process, by name with labels."""
    removed = retention.removed
    samples = {
        "pons_disk_free_bytes": float(spool.free),
        "pons_disk_reserve_held": float(disk.state is not State.FULL),
        "pons_database_up": float(watch.available),
        "pons_intake_open": float(intake.is_open),
        "pons_retention_studies_total": float(removed.studies),
        "pons_retention_instances_total": float(removed.instances),
        "pons_retention_bytes_total": float(removed.size),
    }
    for reason, count in intake.refused.copy().items():
        samples[f'pons_intake_refused_total{{reason="{reason}"}}'] = float(count)
    return samples
