"""Data sets: packed, described by a manifest, pushed to Blob, pulled to the nodes."""
