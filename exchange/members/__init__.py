"""Member companies: applications, admissions, suspensions, and how they stood on any day."""
