"""The panels: one module each. They draw what `daq.viewer.content` keeps, and know no feed."""
