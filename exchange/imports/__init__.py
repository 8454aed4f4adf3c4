"""The door for files: rows become commands, the same that everybody has."""
