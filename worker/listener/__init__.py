"""Storage SCP: keep the image and its job, and only then answer Success."""
