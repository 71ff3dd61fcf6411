//! heddle-dispatcher
