"""The pages people read: figures, and the report that holds them. Nothing is imported here, so this costs nothing."""
