"""Networks that segment storms, their losses, and the record that travels with the weights."""
