"""The contract kit: what every registered plugin has to keep to. `tlresearch check NAME` runs it for one."""
