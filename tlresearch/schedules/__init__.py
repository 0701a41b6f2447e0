"""How the learning rate moves over a stage: one function, one file."""
