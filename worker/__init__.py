"""Where it touches the world: DICOM, the database, the operator."""
