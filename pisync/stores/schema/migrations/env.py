"""What Alembic runs: migrations on the connection that it was given."""

from alembic import context

from pisync.stores.schema.migrations import schema_of
from pisync.stores.schema.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=schema_of(connection),
)
with context.begin_transaction():
    context.run_migrations()
