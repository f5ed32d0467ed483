"""Run by Alembic: migrates over the connection that `inventory.schema` hands in."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="inventory")
with context.begin_transaction():
    context.run_migrations()
