"""Types and contracts: what data, models, methods and the Trainer agree on."""
