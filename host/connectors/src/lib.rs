//! heddle-connectors
