"""Trades: proposals, confirmations, contracts, filings, terminations, reversals."""
