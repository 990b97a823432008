"""Protocol clients and servers that know bytes, not results."""
