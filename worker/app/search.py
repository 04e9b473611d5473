"""What makes jobs findable by accession number and patient ID."""

from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import clock, databases

if TYPE_CHECKING:
    from worker.queue.search import SearchIndex


def search_index(config: Config) -> "SearchIndex":
    """Return what makes jobs findable by accession number and patient ID; its key is made once."""
    from worker.operations.seal import make_key_file
    from worker.operations.search import SEARCH_KEY_FILE
    from worker.queue.search import SearchIndex

    path = config.storage.root / SEARCH_KEY_FILE
    if not path.exists():
        make_key_file(path)
    return SearchIndex(databases.engine(config), key=path.read_bytes(), now=clock.utc_now)


def index_images(config: Config) -> int:
    """Make every image findable that is not yet; return how many."""
    from worker.operations.search import read_terms

    root = config.storage.root
    return search_index(config).fill(lambda file, syntax: read_terms(root, file, syntax))
