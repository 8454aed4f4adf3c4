"""The ledger of a data exchange: members, listings, trades, and the volume they make."""

__version__ = "0.1.0"
