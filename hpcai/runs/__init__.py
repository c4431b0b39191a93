"""The run record: a folder of plain files that says what ran, where, when, and how it ended."""
