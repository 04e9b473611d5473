"""Memory and heat of the GPUs of this machine, as `nvidia-smi` tells them; torch is not loaded."""

import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = 3.0  # a driver that hangs must not hold up a scrape
_MEBIBYTE: Final = 1024 * 1024
_QUERY: Final = "index,memory.used,memory.total,temperature.gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphicsCard:
    """One GPU."""

    device: str  #: "cuda:0"
    used_bytes: int
    total_bytes: int
    celsius: float


def graphics_cards() -> tuple[GraphicsCard, ...]:
    """Return every GPU here; none where there is no driver, or where it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        told = subprocess.run(  # noqa: S603 - the driver's own tool, without any input
            [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(card for line in told.splitlines() if (card := _card(line)) is not None)


def _card(line: str) -> GraphicsCard | None:
    try:
        index, used, total, celsius = (part.strip() for part in line.split(","))
        return GraphicsCard(
            device=f"cuda:{int(index)}",
            used_bytes=int(used) * _MEBIBYTE,
            total_bytes=int(total) * _MEBIBYTE,
            celsius=float(celsius),
        )
    except ValueError:  # "[N/A]": a card that does not tell
        return None
