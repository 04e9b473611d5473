"""Bring results to the PACS: one lane for each destination, until it has what it is owed."""
