"""Data products, their versions and listings: what is for sale, by whom, and whether it can be traded on a day."""
