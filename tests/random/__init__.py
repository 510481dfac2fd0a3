"""The players of random scripts and scenes: each is a program, of which the suite plays a part.

    python -m tests.random.traces
    python -m tests.random.loops
    python -m tests.random.interrupted

The name is that of a module of the standard library, and hides it from nobody as long as ``tests``
itself is not on the path: import from the root of the tree, always in full.
"""
