"""The network that finds the hand, for a release of runs that were trained with masks."""

from pathlib import Path

from safetensors.torch import save_file

from models.release.importing.deeplasia import convert_mask, is_deeplasia_mask
from models.release.importing.errors import UnknownLayoutError
from models.release.importing.unpickle import read_checkpoint
from schemas.releases import MaskNetwork


def write_mask(folder: Path, checkpoint: Path) -> MaskNetwork:
    """Write a mask network of Deeplasia's kind into a release, and return its entry.

    Args:
        folder: of the release.
        checkpoint: its ``fscnn_cos.ckpt``, or the ``mask.safetensors`` of another release.

    Raises:
        PermanentError: one of the classes in ``models.release.importing.errors``.
    """
    read = read_checkpoint(checkpoint)
    if not is_deeplasia_mask(read.tensors):
        raise UnknownLayoutError(path=checkpoint, names=sorted(read.tensors))
    mask = convert_mask(read)
    save_file(mask.tensors, folder / mask.entry.file)
    return mask.entry
