# The stock methods as objects, for the compiled core; _method.pyx has their type.

cdef extern from *:
    """
    #ifndef FASTCHAT_METHOD
    #define FASTCHAT_METHOD
    #include <structmember.h>
    typedef struct {
        PyObject_HEAD
        vectorcallfunc call;     /* which the interpreter finds by __vectorcalloffset__ */
        PyObject *function;
        void *code;              /* what is compiled */
        PyObject *references;
        PyObject *name;          /* under which it stands in its class */
        PyObject *wanted_on;     /* what it is looked for on now; nobody calls what is found */
        PyTypeObject *plain;     /* its type where it is no guard, and as a guard */
        PyTypeObject *guard;
        int is_guard;
        int is_locking;          /* whether a state has to be locked for it */
    } fastchat_method;
    /* What PyObject_GenericGetAttr() finds as *name* on *object*, as if *method* were no guard. */
    static inline PyObject *fastchat_look(PyObject *object, PyObject *name, PyObject *method)
    {
        fastchat_method *own = (fastchat_method *) method;
        PyObject *found;
        Py_SET_TYPE(method, own->plain);
        found = PyObject_GenericGetAttr(object, name);
        Py_SET_TYPE(method, own->is_guard ? own->guard : own->plain);
        return found;
    }
    #ifdef Py_GIL_DISABLED
    /* Whether a look-up of *name* on *object* finds *method*, bound to it; -1 where it raises.
       There are no guards, and nothing is noted on a method, because other threads use it, too. */
    static inline int fastchat_finds(PyObject *object, PyObject *name, PyObject *method)
    {
        PyObject *found = PyObject_GenericGetAttr(object, name);
        int is_bound;
        if (found == NULL)
            return -1;
        is_bound = PyMethod_Check(found) && PyMethod_GET_FUNCTION(found) == method
            && PyMethod_GET_SELF(found) == object;
        Py_DECREF(found);
        return is_bound;
    }
    #else
    /* Whether a look-up of *name* on *object*, whose class has *method* there and no look-up of its
       own, finds that; -1 where it raises.  Nothing is made for it, and no code of Python runs,
       unless a key of its __dict__ has the hash of *name* and an __eq__ of its own. */
    static inline int fastchat_finds(PyObject *object, PyObject *name, PyObject *method)
    {
        PyObject *found;
        int is_bound;
        ((fastchat_method *) method)->wanted_on = object;
        found = fastchat_look(object, name, method);
        /* Not so, if *object* has it as its own. */
        is_bound = ((fastchat_method *) method)->wanted_on == NULL;
        ((fastchat_method *) method)->wanted_on = NULL;
        if (found == NULL)
            return -1;
        Py_DECREF(found);
        return is_bound && found == method;
    }
    #endif
    /* Whether nobody has ever assigned to the name of *method* on an object. */
    static inline int fastchat_guards(PyObject *method)
    { return ((fastchat_method *) method)->is_guard; }
    /* Whether *method* is *function*, bound to *channel*. */
    static inline int fastchat_binds(PyObject *method, PyObject *function, PyObject *channel)
    {
        return PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == function
            && PyMethod_GET_SELF(method) == channel;
    }
    /* Whether attributes of *object* are looked up the way of most objects. */
    static inline int fastchat_is_ordinary(PyObject *object)
    { return Py_TYPE(object)->tp_getattro == PyObject_GenericGetAttr; }
    #endif
    """
    bint finds "fastchat_finds"(object object, object name, object method) except -1
    bint guards "fastchat_guards"(object method)
    bint binds "fastchat_binds"(object method, object function, object channel)
    bint is_ordinary "fastchat_is_ordinary"(object object)
