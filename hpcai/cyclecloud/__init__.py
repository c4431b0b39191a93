"""CycleCloud: what its admin side publishes."""
