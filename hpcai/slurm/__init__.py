"""Slurm: its command line read as values, and an embedded cluster of it."""
