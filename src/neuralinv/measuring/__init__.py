"""How speed is measured, on which machine, and how figures are written."""
