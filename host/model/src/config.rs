//! Typed configuration options with name, type, default and description, and
//! the effective configuration with the origin of each value.
