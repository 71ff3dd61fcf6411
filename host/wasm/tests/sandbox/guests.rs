//! Guests for tests and measurements: core modules in text form, made
//! components by the contract's WIT. They know the canonical ABI and no SDK.

use std::fmt::Write;
use std::path::Path;
use wit_parser::Resolve;

/// Where results are put that are all zeros: `ok` of anything, an empty plan.
pub const ZEROS: u32 = 1024;
/// Free for a guest's own use, 4 KiB.
pub const SCRATCH: u32 = 4096;

/// A guest in the making: what its exports do, as WAT.
#[derive(Clone)]
pub struct Guest {
    bodies: Vec<(&'static str, String)>,
    extra: String,
    wit: String,
}

/// The exports with their parameters in the canonical ABI.
const EXPORTS: [(&str, &str); 9] = [
    (
        "plan",
        "(param $arguments i32) (param $arguments_len i32) (param $configuration i32) (param $configuration_len i32)",
    ),
    ("open", "(param $task i32)"),
    ("process", "(param $input i32) (param $batch i32) (param $length i32)"),
    ("poll", ""),
    ("flush", ""),
    ("end-input", "(param $input i32)"),
    ("flush-state", ""),
    ("fire-timers", "(param i32 i32 i32 i32)"),
    ("finish", ""),
];

/// The contract's WIT as text.
pub fn wit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/wit/operator.wit");
    std::fs::read_to_string(path).expect("the contract is there")
}

impl Guest {
    /// A guest that does nothing, successfully.
    pub fn new() -> Self {
        Self { bodies: Vec::new(), extra: String::new(), wit: wit() }
    }

    /// What an export does before it returns; an `i32` on the stack is
    /// returned instead of `ok` if the body ends with `return`.
    pub fn on(mut self, export: &'static str, body: impl Into<String>) -> Self {
        assert!(EXPORTS.iter().any(|(name, _)| *name == export), "{export}");
        self.bodies.push((export, body.into()));
        self
    }

    /// More definitions of the module.
    pub fn with(mut self, definitions: &str) -> Self {
        self.extra.push_str(definitions);
        self
    }

    /// Another contract.
    pub fn wit(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.wit = change(self.wit);
        self
    }

    fn module(&self, version: &str) -> Vec<u8> {
        let mut text = format!(
            r#"(module
            (import "heddle:operator/output@{version}" "emit" (func $emit (param i32 i32 i32 i32)))
            (import "heddle:operator/state@{version}" "register" (func $register (param i32 i32 i32) (result i32)))
            (import "heddle:operator/state@{version}" "get-many" (func $get_many (param i32 i32 i32 i32)))
            (import "heddle:operator/state@{version}" "put-many" (func $put_many (param i32 i32 i32)))
            (import "heddle:operator/state@{version}" "scan" (func $scan (param i32 i64 i32 i32)))
            (import "heddle:operator/timers@{version}" "register-many" (func $timers (param i32 i32 i32 i32)))
            (import "heddle:operator/metrics@{version}" "add" (func $add (param i32 i32)))
            (import "heddle:operator/log@{version}" "write" (func $log (param i32 i32 i32 i32 i32)))
            (import "heddle:operator/panic@{version}" "report"
                (func $panic (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (func $cabi_realloc (export "cabi_realloc")
                (param $old i32) (param $old_length i32) (param $align i32) (param $length i32) (result i32)
                (local $at i32) (local $pages i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get $length)))
                (local.set $pages (i32.sub
                    (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16)) (memory.size)))
                (if (i32.gt_s (local.get $pages) (i32.const 0))
                    (then (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then (unreachable)))))
                (if (local.get $old_length)
                    (then (memory.copy (local.get $at) (local.get $old) (local.get $old_length))))
                (local.get $at))
            "#
        );
        text.push_str(&self.extra);
        for (name, parameters) in EXPORTS {
            let body: String =
                self.bodies.iter().filter(|(n, _)| *n == name).map(|(_, b)| b.as_str()).collect();
            let _ = write!(
                text,
                r#"(func ${name} (export "heddle:operator/job@{version}#{name}") {parameters} (result i32)
                    {body}
                    (global.set $heap (i32.const 65536))
                    (i32.const {ZEROS}))
                "#
            );
        }
        text.push(')');
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// A core module that says which world it is of.
    pub fn described_module(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("operator.wit", &self.wit).expect("the contract is WIT");
        let version = resolve.packages[package].name.version.clone().expect("it has a version").to_string();
        let world = resolve.select_world(&[package], Some("operator")).expect("it has the world");
        let mut module = self.module(&version);
        wit_component::embed_component_metadata(
            &mut module,
            &resolve,
            world,
            wit_component::StringEncoding::UTF8,
        )
        .expect("the world can be embedded");
        module
    }

    /// A core module that does not say what it is.
    pub fn bare_module(&self) -> Vec<u8> {
        self.module("0.1.0")
    }

    /// A component.
    pub fn component(&self) -> Vec<u8> {
        wit_component::ComponentEncoder::default()
            .module(&self.described_module())
            .and_then(|encoder| encoder.validate(true).encode())
            .unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// Text at an address: a data segment.
pub fn data(at: u32, text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{bytes}\")")
}
