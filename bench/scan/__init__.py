"""``python -m bench scan``: finding terminators and cutting input, in memory, without sockets."""
