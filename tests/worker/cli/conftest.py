from tests.worker.queue.conftest import Database, database, empty_sqlite, server

__all__ = ["Database", "database", "empty_sqlite", "server"]
