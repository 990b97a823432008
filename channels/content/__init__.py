"""Pure renderers: a result in, bytes of one format out."""
