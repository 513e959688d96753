"""Which pixels of a detector make a ring, a sector, an ellipse."""
