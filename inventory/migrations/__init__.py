"""The history of the schema, in the order it grew."""
