from tests.worker.listener.conftest import engine, site, start_site

__all__ = ["engine", "site", "start_site"]
