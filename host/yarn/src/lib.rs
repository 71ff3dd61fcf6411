//! YARN, without a JVM: Hadoop's remote calls, its configuration, and the
//! services of a ResourceManager and its nodes. The only crate that knows
//! Hadoop; it knows workers and nothing of jobs.

pub mod applications;
pub mod configuration;
pub mod deploy;
pub mod driver;
pub mod files;
pub mod id;
pub mod launch;
pub mod masters;
mod messages;
pub mod nodes;
pub mod rpc;
pub mod staged;
pub mod token;
pub mod types;

pub use heddle_filesystem::hadoop::user;
