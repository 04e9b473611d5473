"""Is it well? What the figures mean; the status page, the schedule and the doctor ask here."""
