"""What things are: values, states and names. No input, no output, nothing of ours imported."""
