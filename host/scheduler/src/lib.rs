//! heddle-scheduler
