//! heddle-ha
