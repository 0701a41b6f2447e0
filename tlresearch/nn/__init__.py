"""Network parts that several plugins share."""
