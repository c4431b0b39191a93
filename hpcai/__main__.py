"""`python -m hpcai` is the program `hpcai`: nodes call it by the interpreter's absolute path."""

from __future__ import annotations

from hpcai.cli import main

main()
