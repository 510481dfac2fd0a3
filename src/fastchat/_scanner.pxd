# What the compiled core uses of the compiled scanner.

cpdef Py_ssize_t held_back(bytes data, Py_ssize_t start, tuple terminators) except -1
cpdef find_terminator(data, terminator, start=*)
cpdef find_first_terminator(data, terminators, start=*)
cpdef list lines_of(bytes data, Py_ssize_t start, bytes terminator, Py_ssize_t window)
cpdef bytes only_line(bytes data, bytes terminator)
cpdef Py_ssize_t cut_lines(
    bytes data, Py_ssize_t start, bytes delimiter, Py_ssize_t longest, Py_ssize_t most,
    bint keepends, list lines
) except? -1
cpdef Py_ssize_t cut_lines_of_several(
    bytes data, Py_ssize_t start, tuple delimiters, Py_ssize_t longest, Py_ssize_t most,
    bint keepends, list lines
) except? -1
cpdef tuple find_line_end(bytes data, Py_ssize_t start, Py_ssize_t end, tuple delimiters)
cpdef bytes join_begun(bytes begun, bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef bytes join_checked(list lines, bytes delimiter)
