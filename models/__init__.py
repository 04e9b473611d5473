"""How an image becomes an estimate. Arrays and tensors; no DICOM, no SQL."""
