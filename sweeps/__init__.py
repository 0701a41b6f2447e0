"""The shipped sweeps, ablations and claims: Hydra finds this folder as the package tlresearch.sweeps."""
