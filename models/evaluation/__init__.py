"""How good is it? What a release or a run says about held-out children, in tables and pictures."""
