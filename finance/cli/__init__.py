"""One file a command; `finance.cli.main` knows them all by name."""
