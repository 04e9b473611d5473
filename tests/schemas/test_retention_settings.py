import pytest

from schemas.config import Config, RetentionSection
from schemas.contradictions import contradictions


@pytest.mark.parametrize(
    "section",
    [
        RetentionSection(records_days=89),
        RetentionSection(images_days=0, records_days=3650),
        RetentionSection(ignored_days=0, records_days=3650),
    ],
)
def test_rows_cannot_be_due_before_their_files(section: RetentionSection) -> None:
    (found,) = contradictions(Config(retention=section))

    assert found.place == ("retention", "records_days")


@pytest.mark.parametrize(
    "section",
    [RetentionSection(), RetentionSection(records_days=90), RetentionSection(images_days=0)],
)
def test_rows_may_go_after_their_files_or_never(section: RetentionSection) -> None:
    assert contradictions(Config(retention=section)) == []
