"""Files of a run that are there whole or not at all, whatever happens while they are written."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the path of a file beside ``path``, which becomes it when all of it is written.

    Raises:
        OSError: the disk is full, or not to be written on; nothing is left beside, and what was
            there before stays.
    """
    beside = path.with_suffix(".part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints; its own way copies them into their place, which may be cut off."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401 - as Lightning calls it
    ) -> None:
        """Write a checkpoint; raises as ``written_whole``."""
        del storage_options
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with written_whole(place) as beside:
            beside.write_bytes(content.getbuffer())
