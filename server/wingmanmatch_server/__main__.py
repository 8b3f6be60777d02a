"""`python -m wingmanmatch_server` is the `wingmanmatch` command."""

from wingmanmatch_server.cli import main

main()
