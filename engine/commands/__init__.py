"""The commands, a module for each group; each offers `register(app)`."""
