"""The shipped configurations: Hydra finds this folder as the package tlresearch.conf."""
