//! heddle-job-master
