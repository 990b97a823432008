"""WireGuard tunnels, one a site; knows nothing of the engine."""
