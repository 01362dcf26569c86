"""How files are named whose channels are files of their own: tables of patterns, and what follows."""
