"""Programs for type checkers to read; ``tests/test_types.py`` starts those, and imports these.

mypy, strict, and pyright find nothing wrong with any of them.  What may be written is in ``uses``
(with annotations) and ``untyped`` (without), what may not in ``mistakes``.
"""
