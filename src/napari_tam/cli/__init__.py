"""The command line: each command has a module of its own, imported when it is used."""
