//! Tells the host what a panic said and where it was, before the trap.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static NAMES: RefCell<BTreeMap<u32, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// Sets the names of the operators of this instance.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) fn set_names(names: &BTreeMap<u32, String>) {
    NAMES.with(|own| names.clone_into(&mut own.borrow_mut()));
}

/// Name of an operator of this instance.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
fn name(operator: u32) -> Option<String> {
    NAMES.with(|names| names.try_borrow().ok()?.get(&operator).cloned())
}

/// Reports panics to the host from now on.
#[cfg(target_family = "wasm")]
pub(crate) fn install() {
    use crate::position;
    use crate::runtime::bindings::heddle::operator::panic::report;
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let payload = info.payload();
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| text.to_string())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "the panic has no message".into());
            let (file, line, column) =
                info.location().map_or(("unknown", 0, 0), |at| (at.file(), at.line(), at.column()));
            let operator = position::current_operator().and_then(name);
            report(&message, file, line, column, operator.as_deref(), position::current_record());
        }));
    });
}
