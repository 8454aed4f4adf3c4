"""What counts: volume entries, rollups, cumulative figures, closed months."""
