"""How fast the inventory is, how that grows with its size, and what a row costs."""
