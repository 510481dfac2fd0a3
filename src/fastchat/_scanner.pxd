# What the compiled core uses of the compiled scanner.

cpdef Py_ssize_t held_back(bytes data, Py_ssize_t start, tuple terminators) except -1
cpdef find_terminator(data, terminator, start=*)
cpdef find_first_terminator(data, terminators, start=*)
cpdef list lines_of(bytes data, Py_ssize_t start, bytes terminator, Py_ssize_t window)
cpdef bytes only_line(bytes data, bytes terminator)
