import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE

from worker.listener.answers import encoded_answer

UIDS = st.from_regex(r"\A[1-9][0-9]{0,7}(\.[1-9][0-9]{0,7}){0,6}\Z")


def answer(
    *, status: int | None = 0, message_id: int | None = 1, uids: tuple[str, str] = ("1.2", "1.2.3")
) -> C_STORE:
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo = message_id
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = uids
    primitive.Status = status
    return primitive


def by_pynetdicom(primitive: C_STORE) -> bytes:
    message = C_STORE_RSP()
    message.primitive_to_message(primitive)
    (only,) = message.encode_msg(1, 0)
    return only.presentation_data_value_list[0][1][1:]


@settings(max_examples=30, deadline=None)
@given(status=st.integers(0, 0xFFFF), message_id=st.integers(0, 0xFFFF), uids=st.tuples(UIDS, UIDS))
def test_an_answer_has_the_bytes_that_pynetdicom_gives_it(
    status: int, message_id: int, uids: tuple[str, str]
) -> None:
    plain = answer(status=status, message_id=message_id, uids=uids)
    assert encoded_answer(plain) == by_pynetdicom(plain)


def test_an_answer_names_no_object_that_its_request_did_not_name() -> None:
    plain = answer()
    plain.AffectedSOPInstanceUID = None
    assert encoded_answer(plain) == by_pynetdicom(plain)


@pytest.mark.parametrize("keyword", ["ErrorComment", "OffendingElement"])
def test_an_answer_with_more_to_say_is_left_to_pynetdicom(keyword: str) -> None:
    talkative = answer(status=0xA700)
    setattr(talkative, keyword, {"ErrorComment": "full", "OffendingElement": 0x00080018}[keyword])
    assert encoded_answer(talkative) is None


def test_what_is_no_answer_is_left_to_pynetdicom() -> None:
    assert encoded_answer(answer(status=None)) is None
    assert encoded_answer(answer(message_id=None)) is None
