"""Ways in which `pons send` hands instances to a peer."""
