"""A real Slurm cluster of one machine: munged, slurmctld and several slurmd, unprivileged."""
