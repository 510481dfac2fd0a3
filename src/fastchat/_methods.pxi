# The methods of the hot path as a program finds them on the classes.
#
# A program may expect that what stands on a class is a function of Python: inspect, mock, pydoc and
# whoever looks take it apart.  A call, which is made several times for every line, needs no frame
# of Python.  So each is a Method: it shows everything of a function of Python that documents it
# (_channel_c.py), and a plain call goes to compiled code at once.  A call that is not plain, with
# keywords or a wrong number of arguments, goes to the function, whose errors a program expects.
#
# Rules this file keeps:
#
# * Only the public C API is used: a heap type with the vectorcall protocol of PEP 590.
# * What is read, assigned and deleted on a Method is so on its function.  Its own is only what
#   makes it another object: how it is called and bound, what it equals, how it is shown and copied.

cdef extern from *:
    """
    #include <structmember.h>
    typedef PyObject *(*fastchat_unary)(PyObject *);
    typedef PyObject *(*fastchat_binary)(PyObject *, PyObject *);
    typedef struct {
        PyObject_HEAD
        vectorcallfunc vectorcall;
        PyObject *function;
        fastchat_unary unary;    /* one of the two */
        fastchat_binary binary;
        PyObject *references;
    } fastchat_method;
    static PyObject *fastchat_function_of(PyObject *self)
    { return ((fastchat_method *) self)->function; }
    static PyObject *fastchat_call_unary(
        PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
    {
        if (names == NULL && PyVectorcall_NARGS(flags) == 1)
            return ((fastchat_method *) self)->unary(args[0]);
        return PyObject_Vectorcall(fastchat_function_of(self), args, flags, names);
    }
    static PyObject *fastchat_call_binary(
        PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
    {
        if (names == NULL && PyVectorcall_NARGS(flags) == 2)
            return ((fastchat_method *) self)->binary(args[0], args[1]);
        return PyObject_Vectorcall(fastchat_function_of(self), args, flags, names);
    }
    /* The Method that is looked for now, and on what; nobody calls what is found. */
    static PyObject *fastchat_wanted = NULL, *fastchat_wanted_on = NULL;
    static PyObject *fastchat_bind(PyObject *self, PyObject *object, PyObject *kind)
    {
        if (object != NULL && self == fastchat_wanted && object == fastchat_wanted_on)
            fastchat_wanted = NULL;  /* it is found */
        else if (object != NULL && object != Py_None)
            return PyMethod_New(self, object);
        Py_INCREF(self);
        return self;
    }
    /* Whether a look-up of *name* on *object*, whose class has *method* there and no look-up of its
       own, finds that; -1 where it raises.  Nothing is made for it, and no code of Python runs,
       unless a key of its __dict__ has the hash of *name* and an __eq__ of its own. */
    static int fastchat_finds(PyObject *object, PyObject *name, PyObject *method)
    {
        PyObject *found;
        int is_bound;
        fastchat_wanted = method;
        fastchat_wanted_on = object;
        found = PyObject_GenericGetAttr(object, name);
        is_bound = fastchat_wanted == NULL;  /* not so, if *object* has it as its own */
        fastchat_wanted = fastchat_wanted_on = NULL;
        if (found == NULL)
            return -1;
        Py_DECREF(found);
        return is_bound && found == method;
    }
    /* An attribute of the function, for who asks by object.__getattribute__. */
    static PyObject *fastchat_get_shown(PyObject *self, void *name)
    { return PyObject_GetAttrString(fastchat_function_of(self), (const char *) name); }
    static PyObject *fastchat_get(PyObject *self, PyObject *name)
    {
        /* Of its own a Method has only special names; under __module__ the type has a string. */
        if (PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name) > 2
            && PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_'
            && PyUnicode_CompareWithASCIIString(name, "__module__") != 0)
        {
            PyObject *found = PyObject_GenericGetAttr(self, name);
            if (found != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
                return found;
            PyErr_Clear();
        }
        return PyObject_GetAttr(fastchat_function_of(self), name);
    }
    static int fastchat_set(PyObject *self, PyObject *name, PyObject *value)
    { return PyObject_SetAttr(fastchat_function_of(self), name, value); }
    static PyObject *fastchat_show(PyObject *self)
    {
        PyObject *name = PyObject_GetAttrString(fastchat_function_of(self), "__qualname__");
        PyObject *shown = name ? PyUnicode_FromFormat("<function %S at %p>", name, self) : NULL;
        Py_XDECREF(name);
        return shown;
    }
    /* A function is pickled by its name, and copied not at all. */
    static PyObject *fastchat_reduce(PyObject *self, PyObject *none)
    { return PyObject_GetAttrString(fastchat_function_of(self), "__qualname__"); }
    static int fastchat_traverse(PyObject *self, visitproc visit, void *arg)
    {
        Py_VISIT(Py_TYPE(self));
        Py_VISIT(fastchat_function_of(self));
        return 0;
    }
    static void fastchat_dealloc(PyObject *self)
    {
        PyTypeObject *kind = Py_TYPE(self);
        PyObject_GC_UnTrack(self);
        if (((fastchat_method *) self)->references != NULL)
            PyObject_ClearWeakRefs(self);
        Py_DECREF(fastchat_function_of(self));
        PyObject_GC_Del(self);
        Py_DECREF(kind);
    }
    /* No tp_clear: a cycle through a Method goes through its function, which clears itself. */
    static PyObject *fastchat_make_method_type(void)
    {
        static PyMethodDef methods[] = {
            {"__reduce__", fastchat_reduce, METH_NOARGS, NULL},
            {NULL},
        };
    #define FASTCHAT_SHOWN(name) {name, fastchat_get_shown, NULL, NULL, name}
        static PyGetSetDef shown[] = {
            FASTCHAT_SHOWN("__annotations__"), FASTCHAT_SHOWN("__builtins__"),
            FASTCHAT_SHOWN("__class__"), FASTCHAT_SHOWN("__closure__"),
            FASTCHAT_SHOWN("__code__"), FASTCHAT_SHOWN("__defaults__"),
            FASTCHAT_SHOWN("__dict__"), FASTCHAT_SHOWN("__doc__"),
            FASTCHAT_SHOWN("__globals__"), FASTCHAT_SHOWN("__kwdefaults__"),
            FASTCHAT_SHOWN("__name__"), FASTCHAT_SHOWN("__qualname__"),
            {NULL},
        };
        static PyMemberDef members[] = {
            {"__vectorcalloffset__", T_PYSSIZET, offsetof(fastchat_method, vectorcall), READONLY},
            {"__weaklistoffset__", T_PYSSIZET, offsetof(fastchat_method, references), READONLY},
            {NULL},
        };
        static PyType_Slot slots[] = {
            {Py_tp_call, PyVectorcall_Call},
            {Py_tp_dealloc, fastchat_dealloc},
            {Py_tp_descr_get, fastchat_bind},
            {Py_tp_getattro, fastchat_get},
            {Py_tp_getset, shown},
            {Py_tp_members, members},
            {Py_tp_methods, methods},
            {Py_tp_repr, fastchat_show},
            {Py_tp_setattro, fastchat_set},
            {Py_tp_traverse, fastchat_traverse},
            {0, NULL},
        };
        static PyType_Spec spec = {
            "fastchat._scanner.Method",
            sizeof(fastchat_method),
            0,
            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
                | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE
                | Py_TPFLAGS_DISALLOW_INSTANTIATION,
            slots,
        };
        return PyType_FromSpec(&spec);
    }
    static PyObject *fastchat_make_method(
        PyObject *kind, PyObject *function, fastchat_unary unary, fastchat_binary binary)
    {
        fastchat_method *made = PyObject_GC_New(fastchat_method, (PyTypeObject *) kind);
        if (made == NULL)
            return NULL;
        made->vectorcall = unary != NULL ? fastchat_call_unary : fastchat_call_binary;
        Py_INCREF(function);
        made->function = function;
        made->unary = unary;
        made->binary = binary;
        made->references = NULL;
        PyObject_GC_Track((PyObject *) made);
        return (PyObject *) made;
    }
    """
    ctypedef object (*fastchat_unary)(object)
    ctypedef object (*fastchat_binary)(object, object)
    bint fastchat_finds(object object, object name, object method) except -1
    object fastchat_make_method_type()
    object fastchat_make_method(
        object kind, object function, fastchat_unary unary, fastchat_binary binary
    )


cdef object _unary(kind, functions, str name, fastchat_unary code):
    return fastchat_make_method(kind, functions[name], code, NULL)


cdef object _binary(kind, functions, str name, fastchat_binary code):
    return fastchat_make_method(kind, functions[name], NULL, code)


def make_methods(functions):
    """The Methods, by name, that show *functions*, a dict by name, and run compiled code."""
    kind = fastchat_make_method_type()
    _stock.update({
        "handle_read_event": _unary(kind, functions, "handle_read_event", handle_read_event),
        "handle_write_event": _unary(kind, functions, "handle_write_event", handle_write_event),
        "recv": _binary(kind, functions, "recv", recv),
        "send": _binary(kind, functions, "send", send),
        "handle_read": _unary(kind, functions, "handle_read", handle_read),
        "handle_write": _unary(kind, functions, "handle_write", handle_write),
        "get_terminator": _unary(kind, functions, "get_terminator", get_terminator),
        "readable": _unary(kind, functions, "readable", readable),
        "writable": _unary(kind, functions, "writable", writable),
        "push": _binary(kind, functions, "push", push),
        "initiate_send": _unary(kind, functions, "initiate_send", initiate_send),
    })
    return dict(_stock)
