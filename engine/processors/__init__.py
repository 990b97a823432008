"""What turns a study revision into a report."""
