"""The authorization server: clients in, access tokens out (RFC 6749 4.4), and each one shown is checked."""
