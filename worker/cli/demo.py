"""`boneage demo`: the whole loop on this machine."""


def demo() -> None:
    """Run."""
