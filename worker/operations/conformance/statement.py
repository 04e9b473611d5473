"""Joins the statement: words from ``statement.md``, facts from the code and the settings."""

from importlib.resources import files
from string import Template

from pynetdicom import PYNETDICOM_UID_PREFIX

from schemas.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME
from schemas.config import Config, PeerTlsSection
from worker.operations.conformance import receiving, sending
from worker.operations.conformance.attributes import attributes_table
from worker.operations.conformance.concepts import concepts_table
from worker.operations.conformance.markdown import table
from worker.reporting.patient_study import COPIED_KEYWORDS
from worker.tls import calling_context


def statement(config: Config, *, version: str) -> str:
    """Return the conformance statement of a worker with these settings, as Markdown."""
    words = files(__package__).joinpath("statement.md").read_text(encoding="utf-8")
    return Template(words).substitute(
        version=version,
        entities=_entities(config.listener.ae_title),
        listening=receiving.associations(config.listener),
        rejections=receiving.rejections(),
        senders=receiving.senders(config.peer),
        contexts=receiving.contexts(),
        syntaxes=receiving.syntaxes(),
        receiving_statuses=receiving.statuses(),
        attributes=attributes_table(),
        calling=sending.associations(config.delivery),
        destinations=sending.destinations(config.peer),
        sending_syntaxes=sending.syntaxes(),
        proposals=sending.proposals(),
        sending_statuses=sending.statuses(),
        ciphers=_ciphers(),
        copied=", ".join(f"`{keyword}`" for keyword in COPIED_KEYWORDS),
        scheme=PRIVATE_SCHEME,
        scheme_name=PRIVATE_SCHEME_NAME,
        concepts=concepts_table(),
    )


def _entities(ae_title: str) -> str:
    rows = (
        ("application context", "`1.2.840.10008.3.1.1.1`"),
        ("AE title", f"`{ae_title}`"),
        ("implementation class UID", f"`{PYNETDICOM_UID_PREFIX}` and the version of the library"),
        ("implementation version name", "`PYNETDICOM_` and the version of the library"),
    )
    return table(("parameter", "value"), rows)


def _ciphers() -> str:
    found = calling_context(PeerTlsSection()).get_ciphers()
    return ", ".join(f"`{each['name']}`" for each in found)
