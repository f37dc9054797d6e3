"""Training of the reference models: windows, their variation, fits, cross-validation, figures."""
