"""The core: what stands between the system's events and the hooks of a channel.

One source: these are ordinary Python modules.  Those that have a ``.pxd`` beside them are compiled
where there is a compiler, and run as they are where there is none.  A ``.pxd`` gives C types to
what its module has, and adds no behaviour.  ``_backend.py`` chooses what an import gets.

* ``incoming``: from a readable descriptor to the hooks.
* ``outgoing``: output, queued, held, and sent.
* ``state``: what a channel keeps of its input and output, and who sends from its queue.
* ``facts``: what is known of a class of channels, so that it need not be looked up for every line.
* ``generic``: channels that are used by their public attributes only.
* ``shown``: what a program sees of all this: three properties and eleven methods.
* ``sockets``: what a socket is, found out without running code of the program's.
* ``pollers``: epoll, kqueue, poll and select behind one interface.
* ``touch``: marks a channel whose interest in events may have changed.
* ``asking``: what a channel waits for.
* ``watch``: the registrations of one map, kept between passes.
* ``passes``: one pass over a watch: wait, and hand each event to its channel.
* ``full_passes``: one pass over a map of which nothing is kept.
* ``failures``: what becomes of an exception that leaves a handler.
* ``lines``: lines from bytes that come in pieces; it needs none of the others.
* ``line_state``: what a ``LineChannel`` keeps, and the way of its lines to a hook and back.
* ``line_events``: what happens to one beside that; ``line_ends``: how it ends;
  ``line_output``: what it sends;
  ``line_limits``: what may be assigned to its limits; ``line_stops``: the numbers of these.
* ``agenda``: timers, calls of other threads, and what goes on in the next pass.
* ``family``: what belongs to one import of ``asyncore``.
* ``maps``: ``channel_map``, which tells its watch who joins and leaves; which map has a watch.
* ``system``: the seam, by which a test replaces descriptors, waiting and the clock.
* ``waker``: what ends a wait from another thread or a signal handler.
"""
