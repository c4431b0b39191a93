"""Tables, plots and pages over run records."""
