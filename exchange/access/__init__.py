"""Who may call: persons, their keys and roles, and what needs two of them."""
