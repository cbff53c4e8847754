"""`python -m finance` is the `finance` command."""

from finance.cli.main import main

if __name__ == "__main__":
    main()
