//! heddle-client
