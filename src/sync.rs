//! Locks, for code that a panic must not lock out.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, also after a thread has panicked with it: nothing that this program keeps behind a
/// lock is left half changed by a panic, or the process ends with the panic (`receiver::critical_thread`).
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
