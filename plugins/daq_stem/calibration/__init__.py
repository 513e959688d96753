"""The geometry and gain of a camera, measured on a glass, and the file that keeps them."""
