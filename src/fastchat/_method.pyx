# cython: language_level=3
"""The type of the stock methods, as a program finds them on the classes.

A program may expect that what stands on a class is a function of Python: inspect, mock, pydoc and
whoever looks take it apart.  A call, which is made several times for every line, needs no frame
of Python.  So each is a Method: it shows everything of a function of Python that documents it
(``_methods_c.py``), and a plain call goes to compiled code at once.  A call that is not plain, with
keywords or a wrong number of arguments, goes to the function, whose errors a program expects.

Rules this file keeps:

* Only the public C API is used: a heap type with the vectorcall protocol of PEP 590.
* Some methods are *guards*: data descriptors, whose ``__set__`` is called when a program assigns to
  their name on an object.  At the first one on any object a guard becomes a method like the others,
  for good.  So while it is one, no object has the name as its own, unless a program has put it into
  the ``__dict__`` of the object by itself.
* The ``__set__`` of a guard is not told the name.  So a guard ends, too, when a class is made that
  has it under another one; and an assignment looks under which name the class has it.
* On a free-threaded CPython nothing of a Method changes once it is made, so that threads may share
  it: there are no guards.  What is compiled runs with the lock of the channel's state, which is a
  critical section: other threads wait for it, and it is given up while this one waits for anything.
* What is read, assigned and deleted on a Method is so on its function.  Its own is only what
  makes it another object: how it is called and bound, what it equals, how it is shown and copied.
"""

from cython cimport critical_section

from fastchat._core.facts cimport HAS_GIL

cdef extern from *:
    """
    /* What Cython makes of a function that has cpdef in its .pxd, and how it names the type. */
    typedef PyObject *(*fastchat_unary)(PyObject *, int);
    typedef PyObject *(*fastchat_binary)(PyObject *, PyObject *, int);
    #define FASTCHAT_UNARY "PyObject *(PyObject *, int __pyx_skip_dispatch)"
    #define FASTCHAT_BINARY "PyObject *(PyObject *, PyObject *, int __pyx_skip_dispatch)"
    static PyObject *fastchat_function_of(PyObject *self)
    { return ((fastchat_method *) self)->function; }
    static inline PyObject *fastchat_run(PyObject *self, PyObject *const *args, int is_binary)
    {
        void *code = ((fastchat_method *) self)->code;
        return is_binary ? ((fastchat_binary) code)(args[0], args[1], 0)
                         : ((fastchat_unary) code)(args[0], 0);
    }
    #ifdef Py_GIL_DISABLED
    /* Interned, for a look-up of another string locks all types. */
    static PyObject *fastchat_name_of_state;
    /* With the lock of what args[0] has as its state. */
    static PyObject *fastchat_run_alone(PyObject *self, PyObject *const *args, int is_binary)
    {
        PyObject *state = NULL, *result;
        if (((fastchat_method *) self)->is_locking
            && PyObject_GetOptionalAttr(args[0], fastchat_name_of_state, &state) < 0)
            return NULL;
        if (state == NULL || state == Py_None)
            result = fastchat_run(self, args, is_binary);
        else {
            Py_BEGIN_CRITICAL_SECTION(state);
            result = fastchat_run(self, args, is_binary);
            Py_END_CRITICAL_SECTION();
        }
        Py_XDECREF(state);
        return result;
    }
    #else
    #define fastchat_run_alone fastchat_run
    #endif
    static PyObject *fastchat_call_unary(
        PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
    {
        PyObject *result;
        if (names == NULL && PyVectorcall_NARGS(flags) == 1) {
            if (Py_EnterRecursiveCall(" in a method of a channel"))
                return NULL;
            result = fastchat_run_alone(self, args, 0);
            Py_LeaveRecursiveCall();
            return result;
        }
        return PyObject_Vectorcall(fastchat_function_of(self), args, flags, names);
    }
    static PyObject *fastchat_call_binary(
        PyObject *self, PyObject *const *args, size_t flags, PyObject *names)
    {
        PyObject *result;
        if (names == NULL && PyVectorcall_NARGS(flags) == 2) {
            if (Py_EnterRecursiveCall(" in a method of a channel"))
                return NULL;
            result = fastchat_run_alone(self, args, 1);
            Py_LeaveRecursiveCall();
            return result;
        }
        return PyObject_Vectorcall(fastchat_function_of(self), args, flags, names);
    }
    static PyObject *fastchat_bind(PyObject *self, PyObject *object, PyObject *kind)
    {
        fastchat_method *own = (fastchat_method *) self;
        if (object != NULL && object == own->wanted_on)
            own->wanted_on = NULL;  /* it is found */
        else if (object != NULL && object != Py_None)
            return PyMethod_New(self, object);
        return Py_NewRef(self);
    }
    /* Of a guard: what *object* has of its own goes first, as it does where it is none; but super()
       and a class that has the name anew mean this one. */
    static PyObject *fastchat_bind_guard(PyObject *self, PyObject *object, PyObject *kind)
    {
        fastchat_method *own = (fastchat_method *) self;
        PyObject *found;
        if (object == NULL || object == Py_None)
            return fastchat_bind(self, object, kind);
        found = PyObject_GetAttr((PyObject *) Py_TYPE(object), own->name);
        if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
            PyErr_Clear();
        if (found == self)
            Py_SETREF(found, fastchat_look(object, own->name, self));
        else if (!PyErr_Occurred())
            Py_XSETREF(found, fastchat_bind(self, object, kind));
        return found;
    }
    static void fastchat_stop_guarding(PyObject *self)
    {
        ((fastchat_method *) self)->is_guard = 0;
        Py_SET_TYPE(self, ((fastchat_method *) self)->plain);
    }
    /* _name_in() below. */
    static PyObject *(*fastchat_name_in)(PyObject *kind, PyObject *method, PyObject *name);
    /* Somebody assigns to the name of a guard on *object*: from now on it is none, for good. */
    static int fastchat_step_aside(PyObject *self, PyObject *object, PyObject *value)
    {
        PyObject *name = fastchat_name_in(
            (PyObject *) Py_TYPE(object), self, ((fastchat_method *) self)->name);
        int failed;
        if (name == NULL)
            return -1;
        fastchat_stop_guarding(self);
        failed = PyObject_GenericSetAttr(object, name, value);
        Py_DECREF(name);
        return failed;
    }
    /* A class takes what vars() of another one has, perhaps under another name. */
    static PyObject *fastchat_set_name(PyObject *self, PyObject *args)
    {
        PyObject *kind, *name;
        if (!PyArg_ParseTuple(args, "OO", &kind, &name))
            return NULL;
        if (((fastchat_method *) self)->is_guard && name != ((fastchat_method *) self)->name)
            fastchat_stop_guarding(self);
        return Py_NewRef(Py_None);
    }
    /* An attribute of the function, for who asks by object.__getattribute__. */
    static PyObject *fastchat_get_shown(PyObject *self, void *name)
    { return PyObject_GetAttrString(fastchat_function_of(self), (const char *) name); }
    static PyObject *fastchat_get(PyObject *self, PyObject *name)
    {
        /* Of its own a Method has only special names; under __module__ the type has a string, and
           that it is a guard is nobody's business. */
        if (PyUnicode_Check(name) && PyUnicode_GET_LENGTH(name) > 2
            && PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_'
            && PyUnicode_CompareWithASCIIString(name, "__module__") != 0
            && PyUnicode_CompareWithASCIIString(name, "__set__") != 0
            && PyUnicode_CompareWithASCIIString(name, "__set_name__") != 0
            && PyUnicode_CompareWithASCIIString(name, "__delete__") != 0)
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
        Py_VISIT(((fastchat_method *) self)->plain);
        Py_VISIT(((fastchat_method *) self)->guard);
        Py_VISIT(fastchat_function_of(self));
        return 0;
    }
    static void fastchat_dealloc(PyObject *self)
    {
        PyTypeObject *plain = ((fastchat_method *) self)->plain;
        PyTypeObject *guard = ((fastchat_method *) self)->guard;
        PyObject_GC_UnTrack(self);
        if (((fastchat_method *) self)->references != NULL)
            PyObject_ClearWeakRefs(self);
        Py_DECREF(fastchat_function_of(self));
        Py_DECREF(((fastchat_method *) self)->name);
        PyObject_GC_Del(self);
        Py_DECREF(plain);
        Py_DECREF(guard);
    }
    /* No tp_clear: a cycle through a Method goes through its function, which clears itself. */
    static PyObject *fastchat_make_method_type(int is_guard)
    {
    #ifdef Py_GIL_DISABLED
        if (fastchat_name_of_state == NULL
            && (fastchat_name_of_state = PyUnicode_InternFromString("_fc_state")) == NULL)
            return NULL;
    #endif
        static PyMethodDef methods[] = {
            {"__reduce__", fastchat_reduce, METH_NOARGS, NULL},
            {"__set_name__", fastchat_set_name, METH_VARARGS, NULL},
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
            {"__vectorcalloffset__", T_PYSSIZET, offsetof(fastchat_method, call), READONLY},
            {"__weaklistoffset__", T_PYSSIZET, offsetof(fastchat_method, references), READONLY},
            {NULL},
        };
        PyType_Slot slots[] = {
            {Py_tp_call, PyVectorcall_Call},
            {Py_tp_dealloc, fastchat_dealloc},
            {Py_tp_descr_get, is_guard ? fastchat_bind_guard : fastchat_bind},
            {Py_tp_getattro, fastchat_get},
            {Py_tp_getset, shown},
            {Py_tp_members, members},
            {Py_tp_methods, methods},
            {Py_tp_repr, fastchat_show},
            {Py_tp_setattro, fastchat_set},
            {Py_tp_traverse, fastchat_traverse},
            {is_guard ? Py_tp_descr_set : 0, is_guard ? fastchat_step_aside : NULL},
            {0, NULL},
        };
        PyType_Spec spec = {
            "fastchat._method.Method",
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
        PyObject *plain, PyObject *guard, PyObject *name, PyObject *function, PyObject *capsule)
    {
        int is_binary = PyCapsule_IsValid(capsule, FASTCHAT_BINARY);
        void *code = PyCapsule_GetPointer(capsule, is_binary ? FASTCHAT_BINARY : FASTCHAT_UNARY);
        fastchat_method *made;
        if (code == NULL)
            return NULL;
        made = PyObject_GC_New(fastchat_method, (PyTypeObject *) plain);
        if (made == NULL)
            return NULL;
        Py_INCREF(name);
        PyUnicode_InternInPlace(&name);
        made->name = name;
        made->call = is_binary ? fastchat_call_binary : fastchat_call_unary;
        Py_INCREF(function);
        made->function = function;
        made->code = code;
        made->references = NULL;
        made->wanted_on = NULL;
        /* As PyObject_GC_New() has its reference to the first. */
        made->plain = (PyTypeObject *) plain;
        made->guard = (PyTypeObject *) Py_NewRef(guard);
        made->is_guard = 0;
        /* These two touch no state. */
        made->is_locking = PyUnicode_CompareWithASCIIString(name, "readable") != 0
            && PyUnicode_CompareWithASCIIString(name, "get_terminator") != 0;
        PyObject_GC_Track((PyObject *) made);
        return (PyObject *) made;
    }
    static void fastchat_let_guard(PyObject *self)
    {
        ((fastchat_method *) self)->is_guard = 1;
        Py_SET_TYPE(self, ((fastchat_method *) self)->guard);
    }
    """
    object fastchat_make_method_type(bint is_guard)
    object fastchat_make_method(
        object plain, object guard, object name, object function, object capsule)
    void fastchat_let_guard(object method)
    object (*fastchat_name_in)(object kind, object method, object name)

# To look at a class without any code of its metaclass.
cdef object _mro_of = type.__dict__["__mro__"].__get__
cdef object _members_of = type.__dict__["__dict__"].__get__


cdef object _name_in(object kind, object method, object name):
    """Under which name *kind* has *method*: *name* if that is one of several."""
    cdef dict members
    found, hidden = name, set()
    for base in _mro_of(kind):
        members = dict(_members_of(base))
        for key, value in members.items():
            if value is method and key not in hidden:
                if key == name:
                    return name
                found = key
        hidden.update(members)
    return found


fastchat_name_in = _name_in


def make_methods(functions, capsules):
    """The methods, by name, that show *functions* and run compiled code.

    Both are dicts by name.  *capsules* has what is compiled, as the ``__pyx_capi__`` of its module
    does.  Raises ValueError where that takes something else than one or two objects.
    """
    plain, guard = fastchat_make_method_type(False), fastchat_make_method_type(True)
    return {
        name: fastchat_make_method(plain, guard, name, function, capsules[name])
        for name, function in functions.items()
    }


def let_guard(method):
    """Let *method*, which is there since ``make_methods``, be a guard, where there can be any."""
    if HAS_GIL:
        fastchat_let_guard(method)


def locked(function):
    """*function*, whose first argument is a channel; it runs with the lock of its state."""
    if HAS_GIL:
        return function

    def run_alone(channel, *args):
        state = channel._fc_state
        if state is None:  # it is made only now
            return function(channel, *args)
        with critical_section(state):
            return function(channel, *args)

    return run_alone
