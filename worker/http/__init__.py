"""Health, metrics, the job list and the deeplasia-service interface, over HTTP."""
