"""The inventory: its tables, and all the SQL there is. Nothing outside this folder speaks to the database."""
