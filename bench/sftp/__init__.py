"""SFTP in and out, beside OpenSSH's own server."""
