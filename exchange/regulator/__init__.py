"""Figures for regulators: summaries now; series, breakdowns and sheets stand on the same queries."""
