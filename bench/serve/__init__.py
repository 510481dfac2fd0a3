"""``python -m bench serve``: line servers over real sockets, compared by the CPU time of a line.

``engines/`` is what is compared, ``workloads.py`` what they are given to do, ``load.c`` who gives
it to them, and ``run.py`` takes them through it in turn.
"""
