"""The command line: `main` reads it, `commands` lists the commands, each has a module of its own."""
