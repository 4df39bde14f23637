"""`python -m extproc` is the `dualpool` command."""

from extproc.cli import main

main()
