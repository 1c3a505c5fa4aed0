//! Locking a mutex that a panic of another thread may have poisoned.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, even if a thread has panicked while it held the lock. That is safe here: either a
/// panic cannot leave the data half changed, or the process ends with the panic
/// (`receiver::critical_thread`).
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
