//! heddle-resource-manager
