"""``python -m PostOpPredictorLib`` is the same as ``postop``."""

from .cli.app import main

if __name__ == "__main__":
    main()
