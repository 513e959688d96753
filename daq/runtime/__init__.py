"""A run: the supervisor and its processes, configuration, replay, the driver of analyses."""
