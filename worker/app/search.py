"""What makes jobs findable by accession number and patient ID."""

from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import clock, databases

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.queue.search import SearchIndex


def search_index(config: Config, opened: "Engine | None" = None) -> "SearchIndex":
    """Return what makes jobs findable by accession number and patient ID; its key is made once.

    Raises:
        SchemaMismatchError: there is no database of ours yet; then no key is made either.
    """
    from worker.queue.search import SearchIndex

    opened = opened or databases.engine(config)
    return SearchIndex(opened, key=search_key(config), now=clock.utc_now)


def search_key(config: Config) -> bytes:
    """Return the key of everything that may be known again, but not read; made once."""
    from worker.operations.seal import make_key_file
    from worker.operations.search import SEARCH_KEY_FILE

    path = config.storage.root / SEARCH_KEY_FILE
    if not path.exists():
        make_key_file(path)
    return path.read_bytes()


def index_images(config: Config, opened: "Engine | None" = None) -> int:
    """Make every image findable that is not yet, with the key of this moment; return how many."""
    from worker.operations.search import read_terms

    root = config.storage.root
    index = search_index(config, opened)
    return index.fill(lambda file, syntax: read_terms(root, file, syntax))
