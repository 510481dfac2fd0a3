"""Wheels for every Python on a Linux machine, made and proven without a container: ``make wheels``.

- ``interpreters.py`` finds the Pythons;
- ``making.py`` makes the sdist, and from it the wheels;
- ``proving.py`` has what a wheel must pass, in an environment that has no compiler;
- ``uses.py`` runs in those environments, and is what a user does there;
- ``__main__.py`` does all of it and keeps the table.
"""
