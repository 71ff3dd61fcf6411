//! heddle-exchange
