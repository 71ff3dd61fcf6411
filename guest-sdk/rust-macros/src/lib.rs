//! heddle-macros
