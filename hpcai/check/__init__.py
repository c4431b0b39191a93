"""What is wrong, told before the queue does."""
