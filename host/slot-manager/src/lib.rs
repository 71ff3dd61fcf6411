//! heddle-slot-manager
