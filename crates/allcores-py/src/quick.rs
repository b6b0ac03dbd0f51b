//! The calls that are made most, without what PyO3 does around every call.
//!
//! Taking and giving a lock that nobody waits for is two atomic steps, which take about as
//! long as the bookkeeping of a generated method: it goes through the arguments, counts how
//! deep it is inside of Python and prepares for panics. The functions here do the common
//! case by themselves and leave all else to the generated methods, which they replace and
//! which go on under names with `_slow_` before them. Acquire and release then take 19 ns
//! instead of 32, beside 28 in the standard library (`make bench`, lock).

use std::ffi::{CStr, c_char};
use std::ptr;

use pyo3::PyClass;
use pyo3::PyTypeInfo;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

/// What is taken and given. None of these may panic: Python is the direct caller.
pub trait Quick: PyClass<Frozen = True> + PyTypeInfo + Sync {
    /// Takes it if that needs no waiting; a false leaves it to the slow method.
    fn take(&self) -> bool;
    /// Gives it back; a false leaves it to the slow method.
    fn give(&self) -> bool;
    /// As `take`, for `with`.
    fn enter(&self) -> bool {
        self.take()
    }
    /// As `give`, for `with`.
    fn exit(&self) -> bool {
        self.give()
    }
}

/// What a quick method does with the object behind it.
///
/// # Safety
/// Called by Python with an instance of `T`, which a method descriptor makes sure of.
#[inline]
unsafe fn with<T: Quick, R>(this: *mut ffi::PyObject, work: impl FnOnce(&T) -> R) -> R {
    // SAFETY: Python calls only on threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an instance of T by the caller, which lives for the call.
    let this = unsafe { Bound::ref_from_ptr(py, &this).cast_unchecked::<T>() };
    work(this.get())
}

/// Calls the generated method of this name.
///
/// # Safety
/// The arguments are those of a call by Python.
#[cold]
unsafe fn slow(
    this: *mut ffi::PyObject,
    name: &CStr,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises; the method is a reference of our own.
    unsafe {
        let method = ffi::PyObject_GetAttrString(this, name.as_ptr());
        if method.is_null() {
            return ptr::null_mut();
        }
        let result = ffi::PyObject_Vectorcall(method, arguments, count as usize, names);
        ffi::Py_DECREF(method);
        result
    }
}

fn truth() -> *mut ffi::PyObject {
    // SAFETY: True always exists; the caller gets a reference of its own.
    unsafe { ffi::Py_NewRef(ffi::Py_True()) }
}

fn none() -> *mut ffi::PyObject {
    // SAFETY: None always exists; the caller gets a reference of its own.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

unsafe extern "C" fn acquire<T: Quick>(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python.
    unsafe {
        if count == 0 && names.is_null() && with::<T, _>(this, T::take) {
            return truth();
        }
        slow(this, c"_slow_acquire", arguments, count, names)
    }
}

unsafe extern "C" fn release<T: Quick>(
    this: *mut ffi::PyObject,
    _nothing: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python.
    unsafe {
        if with::<T, _>(this, T::give) {
            return none();
        }
        slow(this, c"_slow_release", ptr::null(), 0, ptr::null_mut())
    }
}

unsafe extern "C" fn enter<T: Quick>(
    this: *mut ffi::PyObject,
    _nothing: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python.
    unsafe {
        if with::<T, _>(this, T::enter) {
            return truth();
        }
        slow(this, c"_slow___enter__", ptr::null(), 0, ptr::null_mut())
    }
}

unsafe extern "C" fn exit<T: Quick>(
    this: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python.
    unsafe {
        if with::<T, _>(this, T::exit) {
            return none();
        }
        slow(this, c"_slow___exit__", arguments, count, ptr::null_mut())
    }
}

/// Puts the quick methods of `T` in the place of the generated ones.
pub fn install<T: Quick>(py: Python<'_>) -> PyResult<()> {
    let acquire_def = method(
        c"acquire",
        ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: acquire::<T>,
        },
        ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        c"acquire($self, /, block=True, timeout=None)\n--\n\n",
    );
    let release_def = method(
        c"release",
        ffi::PyMethodDefPointer {
            PyCFunction: release::<T>,
        },
        ffi::METH_NOARGS,
        c"release($self, /)\n--\n\n",
    );
    let enter_def = method(
        c"__enter__",
        ffi::PyMethodDefPointer {
            PyCFunction: enter::<T>,
        },
        ffi::METH_NOARGS,
        c"__enter__($self, /)\n--\n\n",
    );
    let exit_def = method(
        c"__exit__",
        ffi::PyMethodDefPointer {
            PyCFunctionFast: exit::<T>,
        },
        ffi::METH_FASTCALL,
        c"__exit__($self, kind=None, error=None, traceback=None, /)\n--\n\n",
    );
    let class = T::type_object(py);
    for (name, definition) in [
        ("acquire", acquire_def),
        ("release", release_def),
        ("__enter__", enter_def),
        ("__exit__", exit_def),
    ] {
        let generated = class.getattr(name)?;
        class.setattr(format!("_slow_{name}"), generated)?;
        // Python keeps the definition for as long as the class lives, which is for ever.
        let definition: &'static mut ffi::PyMethodDef = Box::leak(Box::new(definition));
        // SAFETY: a ready class and a definition that stays; NULL is an exception.
        let quick = unsafe {
            let made = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_err(py, made)?
        };
        class.setattr(name, quick)?;
    }
    Ok(())
}

fn method(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: i32,
    signature: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: signature.as_ptr().cast::<c_char>(),
    }
}
