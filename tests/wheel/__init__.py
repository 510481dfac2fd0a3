"""The proof of one finished wheel: ``pytest tests/wheel --wheel PATH``, where it is installed."""
