"""How one shape of the database becomes the next; Alembic runs ``env.py`` and the versions."""
