"""The test suite: `make test`, or `make check` for the part that needs no servers."""
