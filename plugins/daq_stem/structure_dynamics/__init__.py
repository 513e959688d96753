"""Whether slow regions are the ordered ones, with errors that allow for maps being smooth."""
