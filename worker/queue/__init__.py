"""Jobs, outbox, audit trail and database: the only place that knows SQL."""
