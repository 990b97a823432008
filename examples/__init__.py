"""Studies, peers and site stories to try Pons with."""
