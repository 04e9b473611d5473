from tests.worker.listener.conftest import site, start_site

__all__ = ["site", "start_site"]
