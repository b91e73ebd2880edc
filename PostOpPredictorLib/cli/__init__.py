"""The command line ``postop``: one file per command, each with ``register(app)``."""
