"""Running it: settings, supervisor, schedule, demo."""
