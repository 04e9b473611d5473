"""From annotations and recipes to trained members and the table of a release."""
