"""Uploads over HTTP, in one piece or in many, and how a complete one is taken in; for the API and the portal."""
