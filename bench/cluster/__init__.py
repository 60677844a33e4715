"""Three replicas on one PostgreSQL beside one, measured on real processes."""
