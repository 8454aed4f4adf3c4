"""The door for programs: JSON over HTTP. It translates; it decides nothing."""
