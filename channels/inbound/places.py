"""Places for those who are served at once: so many in all, and not all of them for one site.

Enter: the site of who wants in. Leaves: a place, or in which limit there is none. A site that
takes all that it can get leaves the others a quarter, unless the table says otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter


class Places:
    """The places of one channel; for any thread."""

    def __init__(self, total: int, per_site: int | None, *, processes: int = 1) -> None:
        """
        Args:
            total: places in all.
            per_site: of one site; three quarters of the total when None.
            processes: among how many these are shared out; each has its part, rounded up.
        """
        self.total = -(-total // processes)
        self.per_site = max(1, self.total * 3 // 4) if per_site is None else -(-per_site // processes)
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def take(self, site: str) -> str | None:
        """A place for a site, until it is left; or why there is none, for the log."""
        with self._lock:
            if self._taken[site] >= self.per_site:
                self._refused["site"] += 1
                return f"the site has {self._taken[site]}, its limit"
            if self._taken.total() >= self.total:
                self._refused["total"] += 1
                return f"all {self.total} are taken, {self._taken[site]} of them by this site"
            self._taken[site] += 1
            return None

    def leave(self, site: str) -> None:
        """A place is free again."""
        with self._lock:
            self._taken[site] -= 1

    def measured(self, name: str, label: str) -> dict[str, float]:
        """Samples for `/metrics`: who has how many, and how often a limit was met."""
        with self._lock:
            taken, refused = dict(self._taken), dict(self._refused)
        samples = {f'{name}{{{label},site="{site}"}}': float(count) for site, count in taken.items()}
        for limit, count in refused.items():
            samples[f'{name}_refused_total{{{label},limit="{limit}"}}'] = float(count)
        return samples
