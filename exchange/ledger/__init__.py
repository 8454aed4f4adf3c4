"""Accounts, entries, transfers: the one posting primitive."""
