"""`python -m freelm` is `freelm`."""

from freelm.cli.main import run

run()
