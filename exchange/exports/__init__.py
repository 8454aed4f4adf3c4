"""The door for files that go out: what is stored, in the form in which it is imported."""
