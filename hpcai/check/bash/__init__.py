"""What a bash text says without being run: its words, its commands, the values that it assigns."""
