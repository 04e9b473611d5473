"""The DICOM conformance statement, made from the code that it describes."""
