//! heddle-state
