"""Other engines than PyTorch for the networks of a release, on a processor."""
