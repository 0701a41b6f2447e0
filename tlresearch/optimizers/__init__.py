"""What steps the parameters: one function, one file."""
