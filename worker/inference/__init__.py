"""One claimed job: header, pixels, check, estimate, files, settle. Knows no torch and no SQL."""
