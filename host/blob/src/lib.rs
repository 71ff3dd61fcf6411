//! heddle-blob
