"""Releases: weights, manifest and metrics together. Load, verify, write."""
