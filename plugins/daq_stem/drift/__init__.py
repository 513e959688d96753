"""How the specimen drifts while it is scanned again and again."""
