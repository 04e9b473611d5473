"""What a run says while it goes, as text in its folder: to be followed, and for the day after."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import lightning
from torch import Tensor

#: a file this long is put away as run.log.1, the oldest of ``FILES`` is dropped (Deeplasia's sizes)
FILE_BYTES = 500_000
FILES = 4
#: between two lines within a pass, seconds
STEP_SECONDS = 60.0

_OURS = logging.getLogger("boneage.training")
#: Lightning says here what it found, and what it advises
_LIGHTNING = logging.getLogger("lightning.pytorch")


@contextmanager
def logged_to(path: Path) -> Iterator[logging.Logger]:
    """Append to the text log of a run, and write down how it ended.

    Raises:
        OSError: the file cannot be opened.
    """
    handler = RotatingFileHandler(
        path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8"
    )
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    )
    _OURS.setLevel(logging.INFO)
    _OURS.propagate = False  # the terminal has the progress bar
    for logger in (_OURS, _LIGHTNING):
        logger.addHandler(handler)
    try:
        yield _OURS
        _OURS.info("End")
    except BaseException as error:
        _OURS.error("Ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        for logger in (_OURS, _LIGHTNING):
            logger.removeHandler(handler)
        handler.close()


def forget_log(path: Path) -> None:
    """Remove a log and what was put away of it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


class LogPasses(lightning.Callback):
    """Writes a line each minute of a pass, and one with all metrics at its end."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Begin to count the seconds of a pass."""
        del trainer, pl_module
        self._began = self._said = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ANN401 - what the step returned
        batch: Any,  # noqa: ANN401 - of either task
        batch_idx: int,
    ) -> None:
        """Say how far the pass is, at most once a minute."""
        del pl_module, batch
        now = time.monotonic()
        if now - self._said < STEP_SECONDS:
            return
        self._said = now
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        words = f", loss {float(loss):.4f}" if isinstance(loss, Tensor) else ""
        step = f"step {batch_idx + 1} of {trainer.num_training_batches}"
        _OURS.info("%s, %s%s", _say_pass(trainer), step, words)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Say what the pass gave, and how long it took."""
        del pl_module
        seconds = time.monotonic() - self._began
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        words = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        _OURS.info("%s done in %.0f s: %s", _say_pass(trainer), seconds, words)


def _say_pass(trainer: lightning.Trainer) -> str:
    return f"Pass {trainer.current_epoch + 1} of {trainer.max_epochs}"
