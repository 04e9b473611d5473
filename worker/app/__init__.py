"""The one place that builds objects from ``Config``. Boring on purpose.

Imports stand inside the functions, so that each process loads what it needs and nothing else:
torch is loaded in `infer` and by `boneage estimate` alone. What a module here needs of another it
calls by the module's name (``clock.utc_now``), so that a test that sets it there sets it for all.
"""
