"""The conformance statement, held against a listener that runs and an SCU that calls."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from schemas.config import Config, ListenerSection, PeerSection, StorageSection
from tests.deploy.programs import DEPLOY, told
from tests.worker.listener.sending import association
from tests.worker.queue.makers import RETRY
from worker.app import clock, databases, identities
from worker.delivery.scu import open_association
from worker.listener.scp import Listener
from worker.listener.spool import Spool
from worker.operations.conformance.statement import statement
from worker.queue.jobs import JobQueue

MOST_CONTEXTS = 128  # PS3.8 table 9-18: odd numbers of one byte
#: what a PACS may offer besides storage
OTHERS = (
    ModalityWorklistInformationFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
_CLASS = re.compile(
    r"^\| [^|]+ \| `([\d.]+)` \| [^|]+ \| (images|reports|verification) \|$", re.MULTILINE
)
_SYNTAX = re.compile(r"^\| (images|reports|verification) \| [^|]+ \| `([\d.]+)` \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Context:
    """One SOP class in one transfer syntax."""

    sop_class: str
    syntax: str


def stated(text: str) -> set[Context]:
    """Read what the statement says is accepted."""
    syntaxes = _SYNTAX.findall(text)
    return {
        Context(uid, syntax)
        for uid, kind in _CLASS.findall(text)
        for each, syntax in syntaxes
        if each == kind
    }


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    root = tmp_path_factory.mktemp("listener")
    config = Config(storage=StorageSection(root=root))
    databases.prepare_database(config)
    engine = databases.engine(config)
    running = Listener(
        ListenerSection(port=0),
        peers=[PeerSection(name="tester", ae_title="TESTER")],
        spool=Spool(config.storage),
        queue=JobQueue(engine, now=clock.now, actor="listen", release="r1", retry=RETRY),
    )
    running.start()
    yield running
    running.stop()
    engine.dispose()


def accepted(listener: Listener, offered: Sequence[Context]) -> set[Context]:
    """Offer each in a context of its own, as many as fit an association; say what is taken."""
    found = set()
    for start in range(0, len(offered), MOST_CONTEXTS):
        contexts = [(one.sop_class, one.syntax) for one in offered[start : start + MOST_CONTEXTS]]
        with association(listener.port, calling_ae="TESTER", contexts=contexts) as wire:
            found |= {
                Context(str(one.abstract_syntax), str(one.transfer_syntax[0]))
                for one in wire.accepted_contexts
            }
    return found


def test_the_listener_accepts_exactly_what_is_stated(listener: Listener) -> None:
    text = statement(Config(), version="0")
    classes = [str(one.abstract_syntax) for one in AllStoragePresentationContexts]
    offered = [
        Context(uid, str(syntax))
        for uid in (*classes, *map(str, OTHERS))
        for syntax in AllTransferSyntaxes
    ]

    assert len(stated(text)) > 100
    assert accepted(listener, offered) == stated(text)


def test_of_several_transfer_syntaxes_the_first_that_is_stated_is_taken(
    listener: Listener,
) -> None:
    text = statement(Config(), version="0")
    [sop_class, _], *_ = _CLASS.findall(text)
    first, second, *_ = [syntax for kind, syntax in _SYNTAX.findall(text) if kind == "images"]
    caller = AE("TESTER")
    wire = caller.associate(
        "127.0.0.1",
        listener.port,
        ae_title="BONEAGE",
        contexts=[build_context(sop_class, [second, first])],
    )
    [context] = wire.accepted_contexts
    wire.release()

    assert context.transfer_syntax == [first]


def test_the_scu_proposes_what_is_stated() -> None:
    proposed: list[Context] = []

    def note(event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        contexts = request.presentation_context_definition_list if request else []
        proposed.extend(
            Context(str(one.abstract_syntax), str(syntax))
            for one in contexts
            for syntax in one.transfer_syntax
        )

    pacs = AE("PACS")
    pacs.add_supported_context(StorageCommitmentPushModel)
    server = pacs.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)]
    )
    assert server is not None
    text = statement(Config(), version="0")
    proposals = text.partition("### 4.4.2")[2].partition("### 4.4.3")[0]
    classes = re.findall(r"^\| [^|]+ \| `([\d.]+)` \|", proposals, re.MULTILINE)
    calling = open_association(
        PeerSection(name="pacs", ae_title="PACS", port=server.server_address[1]),
        ae_title="BONEAGE",
        sop_class_uids=classes,
        connect_timeout_seconds=10,
    )
    calling.release()
    server.shutdown()
    words = text.partition("One context for each transfer syntax: ")[2].partition(". Our")[0]

    assert {one.syntax for one in proposed} == set(re.findall(r"`([\d.]+)`", words))
    assert {one.sop_class for one in proposed} == set(classes)


def test_limits_and_titles_are_those_of_the_settings() -> None:
    listener = ListenerSection(ae_title="HANDS", port=104, maximum_associations=7)
    peer = PeerSection(name="big pacs", ae_title="BIG", host="10.0.0.9", port=4104)
    text = statement(Config(listener=listener, peer=(peer,)), version="1.2.3")

    for words in (
        "`HANDS`",
        "| 104, without TLS |",
        "| 7 |",
        "`BIG`",
        "10.0.0.9, port 4104",
        "1.2.3",
    ):
        assert words in text


def test_nothing_is_read_that_is_not_named() -> None:
    text = statement(Config(), version="0")

    for words in ("Patient's Sex (0010,0040)", "Study Description (0008,1030)", "Rescale Slope"):
        assert words in text
    assert "|  (" not in text  # every attribute has its name


def test_the_statement_in_the_repository_is_that_of_the_code() -> None:
    written = (DEPLOY / "conformance.md").read_text(encoding="utf-8")

    assert written == statement(Config(), version=identities.software_version()), (
        "run `boneage conformance --config /dev/null --out deploy/conformance.md`"
    )


def test_the_command_states_the_settings_in_force(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('[listener]\nae_title = "ELSEWHERE"\n')
    code, printed = told([sys.executable, "-m", "worker", "conformance", "--config", settings])

    assert code == 0, printed
    assert "`ELSEWHERE`" in printed
