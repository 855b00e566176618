"""Other people's inference engines, each in an environment of its own."""
