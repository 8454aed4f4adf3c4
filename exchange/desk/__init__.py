"""The operators' desk: what waits for a decision, and where to find what somebody calls about."""
