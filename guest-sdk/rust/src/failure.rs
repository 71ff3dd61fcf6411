//! The first error that an operator's function returned, kept until the call
//! from the host ends. Operators need no way back up the chain for it.

use crate::error::Error;
use crate::position;
use std::cell::RefCell;

/// An error with the operator that returned it.
pub(crate) struct OperatorFailure {
    pub(crate) error: Error,
    pub(crate) operator: Option<u32>,
    pub(crate) record: Option<u64>,
}

thread_local! {
    static FAILURE: RefCell<Option<OperatorFailure>> = const { RefCell::new(None) };
}

/// Remembers an error unless there is one already.
#[cold]
pub(crate) fn fail(error: Error) {
    FAILURE.with(|failure| {
        failure.borrow_mut().get_or_insert_with(|| OperatorFailure {
            error,
            operator: position::current_operator(),
            record: position::current_record(),
        });
    });
}

/// Takes the error of the call that ends.
pub(crate) fn take() -> Option<OperatorFailure> {
    FAILURE.with(|failure| failure.borrow_mut().take())
}
