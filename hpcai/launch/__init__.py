"""Starts a rendered job: through Slurm, as plain processes, or as a Python function."""
