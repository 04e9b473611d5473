"""``python -m worker`` is ``boneage``."""

from worker.cli import main

main()
