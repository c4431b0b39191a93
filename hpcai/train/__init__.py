"""The trainer: ResNet-50 on one process or many, with its data, recipe, checkpoints and records."""
