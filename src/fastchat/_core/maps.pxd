cimport cython

from fastchat._core.facts cimport get_item
from fastchat._core.family cimport Family
from fastchat._core.watch cimport Watch
from fastchat._core.outgoing cimport flush_all_threads, leave_to_the_parent

cdef dict _select_names
cdef object _own_poll, _own_select


@cython.locals(kept=Watch)
cpdef watch_over(map, Family family, bint for_long)


@cython.locals(kept=Watch)
cdef Watch _keep(map, Watch watch)
cdef bint _select_is_original(Family family) except -1
