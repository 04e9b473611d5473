"""What needs a person, and the news about it. Nothing of a patient stands in any of it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong now and does not mend itself."""

    key: str  #: "destination:pacs": the same as long as it lasts
    title: str  #: a few words
    message: str  #: what is, and how to mend it; names, counts, codes, nothing else
    size: int = 1  #: such as how many jobs have failed; a trouble that grows is told again


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What has changed since people were told last."""

    at: datetime
    begun: tuple[Trouble, ...] = ()
    lasting: tuple[Trouble, ...] = ()  #: grown, or due to be recalled
    ended: tuple[str, ...] = ()  #: titles of what is well again

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self.begun or self.lasting or self.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMessage:
    """One message that is to be sent now."""

    message_id: int
    channel: str  #: "webhook" or "email"
    body: str  #: as the channel understands it
