"""May this image be read at all? Bounds for any release, and a trained judge where it has one."""
