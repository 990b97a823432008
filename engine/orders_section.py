"""`orders:` how orders over studies behave.

Enter: plain data from the table. Leave: typed, frozen settings.
"""

from __future__ import annotations

from engine.settings import Duration, Settings


class OrdersSettings(Settings):
    """`orders:` what is given again takes the place of what was given before, for a while."""

    replace_within: Duration = 300.0
    """How long a study given again replaces the first order rather than making a second; `0s`: never."""
