"""`python -m mfc`: the same as the console script `mfc`."""

from mfc.cli import main

main(prog_name="mfc")
