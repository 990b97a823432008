"""Uploads over HTTP, in one piece or many, and how a complete one is taken in; for API and portal."""
