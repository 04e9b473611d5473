"""Weights of others turned into a release of ours, without running a line of their code."""
