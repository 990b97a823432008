"""The Pons engine: durable intake, assembly, routing, processing and delivery."""
