//! heddle-task-executor
