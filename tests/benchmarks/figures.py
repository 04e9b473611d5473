"""One figure of a benchmark: a value, the peer or limit beside it, and what was aimed at."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Whether the aim was reached."""

    REACHED = "reached"
    MISSED = "missed"
    NO_AIM = "no aim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """The bound that a ratio, or a value without a peer, has to keep."""

    at_least: float | None = None
    at_most: float | None = None

    def holds_for(self, number: float) -> bool:
        """Say whether ``number`` keeps both bounds."""
        return (self.at_least is None or number >= self.at_least) and (
            self.at_most is None or number <= self.at_most
        )

    def __str__(self) -> str:
        """Return the bound as a reader says it."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number; medians where there were several runs."""

    name: str
    value: float
    unit: str
    peer: str = ""  #: what it is compared with, measured in the same run on the same machine
    peer_value: float | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        """Return value by peer; ``None`` without a peer."""
        return None if not self.peer_value else self.value / self.peer_value

    @property
    def judged(self) -> float:
        """Return the number that the aim is about."""
        return self.value if self.ratio is None else self.ratio

    @property
    def verdict(self) -> Verdict:
        """Return whether the aim was reached."""
        if self.aim is None:
            return Verdict.NO_AIM
        return Verdict.REACHED if self.aim.holds_for(self.judged) else Verdict.MISSED

    def as_json(self) -> dict[str, Any]:
        """Return everything, the ratio and the verdict included."""
        return {
            **asdict(self),
            "aim": str(self.aim or ""),
            "ratio": self.ratio,
            "verdict": self.verdict.value,
        }
