"""What is wrong with a table beyond its grammar, one story a file; `engine.check` asks them in turn."""
