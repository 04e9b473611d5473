"""Find a job by accession number or patient ID, without either of them in the tables.

What stands there is an HMAC with a key of this installation: who has the database alone can
neither read nor guess it, and who has the key can look for a number that is known already.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.inquiries import SearchHashes
from schemas.tables import Reception
from worker.queue.database import reading, time_of, writing

_BATCH = 200  # files read between two transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTerms:
    """What one image says of itself that may be searched for; never stored, never logged."""

    accession_number: str
    patient_id: str


class SearchIndex:
    """Hashes what may be searched for, and writes the hashes to the receptions."""

    def __init__(self, engine: Engine, *, key: bytes, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._key = key
        self._now = now

    def accession_hash(self, accession_number: str) -> str | None:
        """Return what stands in the tables for this accession number; nothing for an empty one."""
        return self._hash("accession", accession_number)

    def patient_id_hash(self, patient_id: str) -> str | None:
        """Return what stands in the tables for this patient ID; nothing for an empty one."""
        return self._hash("patient_id", patient_id)

    def fill(self, read: Callable[[str, str], SearchTerms | None]) -> int:
        """Index every reception that is not yet; return how many.

        Args:
            read: gives what the spool file (its path in the storage root, its transfer syntax)
                says; ``None``: it is gone or unreadable, and cannot be found by these.

        Raises:
            OSError: the disk did not give a file out; it is tried again next time.
        """
        count = 0
        for batch in self._unindexed():
            found = [(row_id, read(file, syntax)) for row_id, file, syntax in batch]
            self._write([(row_id, self._hashes(terms)) for row_id, terms in found])
            count += len(found)
        return count

    def forget(self) -> None:
        """Let every image that is still here be indexed anew: the key has changed."""
        with writing(self._engine) as session:
            session.execute(
                sa.update(Reception)
                .where(Reception.removed_at.is_(None))
                .values(indexed_at=None, accession_hash=None, patient_id_hash=None)
            )

    def _unindexed(self) -> Iterator[list[tuple[int, str, str]]]:
        after = 0
        while True:
            with reading(self._engine) as session:
                rows = session.execute(
                    sa.select(Reception.id, Reception.spool_file, Reception.transfer_syntax_uid)
                    .where(Reception.indexed_at.is_(None), Reception.id > after)
                    .order_by(Reception.id)
                    .limit(_BATCH)
                ).all()
            if not rows:
                return
            yield [(row.id, row.spool_file, row.transfer_syntax_uid) for row in rows]
            after = rows[-1].id

    def _write(self, found: list[tuple[int, SearchHashes]]) -> None:
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            for row_id, hashes in found:
                session.execute(
                    sa.update(Reception)
                    .where(Reception.id == row_id)
                    .values(
                        accession_hash=hashes.accession,
                        patient_id_hash=hashes.patient_id,
                        indexed_at=at,
                    )
                )

    def _hashes(self, terms: SearchTerms | None) -> SearchHashes:
        if terms is None:
            return SearchHashes(accession=None, patient_id=None)
        return SearchHashes(
            accession=self.accession_hash(terms.accession_number),
            patient_id=self.patient_id_hash(terms.patient_id),
        )

    def _hash(self, kind: str, value: str) -> str | None:
        """Hash a value as it is typed, read aloud or sent: blanks and case do not count."""
        plain = unicodedata.normalize("NFKC", value).strip().casefold()
        if not plain:
            return None
        return hmac.new(self._key, f"{kind}\n{plain}".encode(), hashlib.sha256).hexdigest()
