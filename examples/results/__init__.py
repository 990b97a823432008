"""One result of an invented patient in every format; the command `python -m examples.results`."""
