"""Every way in and every way out."""
