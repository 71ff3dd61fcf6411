//! What is let in, what is refused and in which words, and the cache.

use crate::guests::Guest;
use crate::harness::{Sandbox, compiler, line, options};
use expect_test::expect;
use heddle_model::id::BlobKey;
use heddle_wasm::{CompilerCommand, Grants, Runtime};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A component in text form.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).expect("text of a component")
}

/// A component that exports an (empty) job and has these imports.
fn importing(imports: &str) -> Vec<u8> {
    component(&format!("{imports} (instance $job) (export \"heddle:operator/job@0.1.0\" (instance $job))"))
}

const CUSTOM: u8 = 0;

/// The kind of each section of a component, and where it ends; the preamble
/// first, as a custom one.
fn section_ends(component: &[u8]) -> Vec<(u8, usize)> {
    let mut at = 8;
    let mut ends = vec![(CUSTOM, at)];
    while at < component.len() {
        let (id, mut length, mut shift) = (component[at], 0, 0);
        loop {
            at += 1;
            length |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + length;
        ends.push((id, at));
    }
    ends
}

#[tokio::test]
async fn files_of_other_kinds_are_named() {
    let sandbox = Sandbox::new();
    expect!["H1001: the file is empty: expected a WebAssembly component"]
        .assert_eq(&sandbox.refuse(b"").await);
    expect!["H1001: the file is not WebAssembly, it looks like a text file: build the job for the target wasm32-wasip2 and give the .wasm file that comes out"]
        .assert_eq(&sandbox.refuse(b"hello world").await);
    expect!["H1001: the file is WebAssembly text, not a component: translate it with `wasm-tools parse`"]
        .assert_eq(&sandbox.refuse(b"  (module)").await);
    expect!["H1001: the file is not WebAssembly, it looks like a native program: build the job for the target wasm32-wasip2 and give the .wasm file that comes out"]
        .assert_eq(&sandbox.refuse(b"\x7fELF\x02\x01").await);
    expect!["H1001: the file is not WebAssembly, it looks like a zip or jar file: build the job for the target wasm32-wasip2 and give the .wasm file that comes out"]
        .assert_eq(&sandbox.refuse(b"PK\x03\x04").await);
    expect!["H1001: the file is a core module, not a component: build it for the target wasm32-wasip2 (cargo build --target wasm32-wasip2), or make a component of it with `wasm-tools component new`"]
        .assert_eq(&sandbox.refuse(&Guest::new().bare_module()).await);
}

#[tokio::test]
async fn a_component_that_was_cut_or_changed_never_loads_and_never_panics() {
    let sandbox = Sandbox::with(|options| {
        // Only what is told without compiling.
        options.compiler = CompilerCommand { program: "/bin/false".into(), arguments: vec![] };
    });
    let whole = Guest::new().component();
    let ends = section_ends(&whole);
    let last_needed = ends.iter().rposition(|(id, _)| *id != CUSTOM).expect("a section");
    for length in (1..whole.len()).step_by(7).chain(ends.iter().map(|(_, end)| *end)) {
        let line = sandbox.refuse(&whole[..length]).await;
        // Cut between two sections it is a component, of no world; or it lacks
        // only what nobody needs, and is for the compiler.
        let expected: &[&str] = match ends.iter().position(|(_, end)| *end == length) {
            Some(section) if section >= last_needed => &["H1004: the compiler /bin/false "],
            Some(_) => &["H1001: ", "H1002: "],
            None => &["H1001: "],
        };
        assert!(expected.iter().any(|start| line.starts_with(start)), "{length}: {line}");
    }
    expect!["H1001: the component is truncated, or something was added to it: it ends after 1000 bytes in the middle of a section, which begins at byte 445"]
        .assert_eq(&sandbox.refuse(&whole[..1000]).await);
    for at in (0..whole.len()).step_by(9) {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        sandbox.refuse(&changed).await;
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(b"\0asm rest");
    assert!(sandbox.refuse(&longer).await.starts_with("H1001: "));
}

#[tokio::test]
async fn what_only_the_compiler_can_tell_is_refused_too() {
    let sandbox = Sandbox::new();
    let whole = Guest::new().component();
    // In the code of the module: valid on the outside, damaged inside.
    let mut refused = 0;
    for at in (whole.len() / 4..whole.len()).step_by(whole.len() / 6) {
        let mut changed = whole.clone();
        changed[at] = 0xff;
        if let Err(error) = sandbox.runtime.load(&changed, &Grants::default()).await {
            let line = line(&error);
            assert!(line.starts_with("H1001: ") || line.starts_with("H1002: "), "{at}: {line}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn components_of_other_worlds_are_told_what_is_missing() {
    let sandbox = Sandbox::new();
    expect!["H1002: the component is not a job: the export heddle:operator/job@0.1.0 is missing, it exports nothing"]
        .assert_eq(&sandbox.refuse(&component("")).await);
    expect!["H1002: the component is a command (it exports wasi:cli/run), not a job (export heddle:operator/job@0.1.0): build it as a library (crate-type \"cdylib\") with #[heddle::main]"]
        .assert_eq(&sandbox.refuse(&component("(instance $i) (export \"wasi:cli/run@0.2.6\" (instance $i))")).await);
    expect!["H1002: the component is not a job: the export heddle:operator/job@0.1.0 is missing, it exports a:b/c@1.0.0"]
        .assert_eq(&sandbox.refuse(&component("(instance $i) (export \"a:b/c@1.0.0\" (instance $i))")).await);
    let newer = Guest::new().wit(|wit| wit.replace("@0.1.0", "@0.2.0")).component();
    expect!["H1002: the component is made for version 0.2.0 of heddle:operator, and this Heddle runs 0.1.0: build it with the SDK of this version"]
        .assert_eq(&sandbox.refuse(&newer).await);
    expect!["H1002: the component imports heddle:operator/teleport@0.1.0, which version 0.1.0 of the contract does not have: build it with the SDK of this version"]
        .assert_eq(&sandbox.refuse(&importing("(import \"heddle:operator/teleport@0.1.0\" (instance))")).await);
    // The right names, other types.
    let line = sandbox.refuse(&importing("")).await;
    assert!(
        line.starts_with("H1002: the component does not fit version 0.1.0 of heddle:operator ("),
        "{line}"
    );
}

#[tokio::test]
async fn an_import_that_needs_a_grant_is_refused_with_its_name() {
    let sandbox = Sandbox::new();
    let sockets = importing("(import \"wasi:sockets/tcp@0.2.6\" (instance))");
    expect!["H1003: the component imports wasi:sockets/tcp@0.2.6, and the job is not granted `sockets`: remove what needs it, or grant it when a later version of Heddle serves it"]
        .assert_eq(&sandbox.refuse(&sockets).await);
    let granted = Grants { sockets: true, ..Default::default() };
    expect!["H1003: the component imports wasi:sockets/tcp@0.2.6: the grant `sockets` is served by a later version of Heddle"]
        .assert_eq(&sandbox.refuse_with(&sockets, &granted).await);
    let http = importing("(import \"wasi:http/outgoing-handler@0.2.6\" (instance))");
    expect!["H1003: the component imports wasi:http/outgoing-handler@0.2.6, and the job is not granted `http`: remove what needs it, or grant it when a later version of Heddle serves it"]
        .assert_eq(&sandbox.refuse(&http).await);
    let files = importing(
        "(import \"wasi:filesystem/types@0.2.6\" (instance
            (export \"descriptor\" (type $d (sub resource)))
            (export \"[method]descriptor.sync\" (func (param \"self\" (borrow $d))))
            (export \"[method]descriptor.open-at\" (func (param \"self\" (borrow $d))))))",
    );
    expect!["H1003: the component imports wasi:filesystem/types@0.2.6#[method]descriptor.open-at, and the job is not granted `filesystem`: remove what needs it, or grant it when a later version of Heddle serves it"]
        .assert_eq(&sandbox.refuse(&files).await);
    let unknown = importing("(import \"wasi:keyvalue/store@0.2.0\" (instance))");
    expect!["H1003: the component imports wasi:keyvalue/store@0.2.0, which Heddle does not offer and no grant gives: remove what needs it"]
        .assert_eq(&sandbox.refuse(&unknown).await);
}

#[tokio::test]
async fn a_described_core_module_is_wrapped() {
    let sandbox = Sandbox::new();
    let module = Guest::new().described_module();
    let component = sandbox.runtime.load(&module, &Grants::default()).await.expect("wrapped");
    let plan = sandbox.runtime.plan(&component, &Default::default(), &sandbox.limits()).await;
    assert_eq!(plan, Ok(Default::default()));
    // Described as ours, but without the exports.
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("operator.wit", &crate::guests::wit()).expect("WIT");
    let world = resolve.select_world(&[package], Some("operator")).expect("a world");
    let mut empty = wat::parse_str("(module)").expect("text");
    wit_component::embed_component_metadata(&mut empty, &resolve, world, wit_component::StringEncoding::UTF8)
        .expect("embedded");
    let line = sandbox.refuse(&empty).await;
    assert!(line.starts_with("H1001: the core module cannot be made a component ("), "{line}");
}

#[tokio::test]
async fn limits_on_compiling_hold() {
    let bytes = Guest::new().component();
    let sandbox = Sandbox::with(|options| options.compile_limits.component_size = 1 << 10);
    expect!["H1001: the component has 1 MiB; the limit is 0 MiB (taskmanager.wasm.max-component-size)"]
        .assert_eq(&sandbox.refuse(&bytes).await);
    let sandbox = Sandbox::with(|options| {
        options.compile_limits.time = Duration::from_millis(200);
        options.compiler = CompilerCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "while :; do :; done".into()],
        };
    });
    expect!["H1004: compiling the component took longer than 200ms: is one of its functions very large? (limit: taskmanager.wasm.compile.timeout)"]
        .assert_eq(&sandbox.refuse(&bytes).await);
    let large = Guest::new().with(&format!(
        "(memory $large 512) (data (memory $large) (i32.const 0) \"{}\")",
        "x".repeat(16 << 20)
    ));
    let sandbox = Sandbox::with(|options| options.compile_limits.memory = 40 << 20);
    expect!["H1004: compiling the component took more than 40 MiB of memory: is one of its functions very large? (limit: taskmanager.wasm.compile.memory)"]
        .assert_eq(&sandbox.refuse(&large.component()).await);
    let sandbox = Sandbox::with(|options| options.compile_limits.artefact_size = 1 << 10);
    expect!["H1004: the compiled component has 1 MiB; the limit is 0 MiB"]
        .assert_eq(&sandbox.refuse(&bytes).await);
    let sandbox = Sandbox::with(|options| {
        options.compiler = CompilerCommand { program: "/nowhere/heddle".into(), arguments: vec![] };
    });
    expect!["H9001: cannot start the compiler /nowhere/heddle: No such file or directory (os error 2)"]
        .assert_eq(&sandbox.refuse(&bytes).await);
}

/// A compiler that notes each of its runs in `folder/runs`.
fn counting_compiler(folder: &tempfile::TempDir) -> CompilerCommand {
    let runs = folder.path().join("runs");
    let script = format!("echo x >> '{}'; exec '{}' \"$1\"", runs.display(), compiler().program.display());
    CompilerCommand { program: "/bin/sh".into(), arguments: vec!["-c".into(), script, "sh".into()] }
}

fn runs(folder: &tempfile::TempDir) -> usize {
    std::fs::read_to_string(folder.path().join("runs")).map_or(0, |text| text.lines().count())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_compiled_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        let mut options = options(&folder);
        options.compiler = counting_compiler(&folder);
        Runtime::new(options).expect("a runtime")
    };
    let bytes = Guest::new().component();
    let runtime = start();
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let (runtime, bytes) = (runtime.clone(), bytes.clone());
            tokio::spawn(async move {
                runtime.load(&bytes, &Grants::default()).await.map(|component| component.key())
            })
        })
        .collect();
    for load in loads {
        assert_eq!(load.await.expect("no panic"), Ok(BlobKey::of(&bytes)));
    }
    assert_eq!(runs(&folder), 1);

    // It stays mapped although nobody has it now.
    let hidden = folder.path().join("hidden");
    std::fs::rename(folder.path().join("cache"), &hidden).expect("moved");
    let fetch = async || panic!("it is mapped");
    runtime.load_fetched(BlobKey::of(&bytes), &Grants::default(), fetch).await.expect("still mapped");
    std::fs::rename(&hidden, folder.path().join("cache")).expect("moved back");
    drop(runtime);

    // Another process finds the artefact; the component itself is not read.
    let runtime = start();
    let fetch = async || panic!("it is in the cache");
    runtime.load_fetched(BlobKey::of(&bytes), &Grants::default(), fetch).await.expect("from the cache");
    assert_eq!(runs(&folder), 1);

    // One that is damaged is made again.
    let artefact = std::fs::read_dir(folder.path().join("cache"))
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .expect("an artefact");
    let mut content = std::fs::read(&artefact).expect("read");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&artefact, content).expect("written");
    drop(runtime);
    let runtime = start();
    let component = runtime.load(&bytes, &Grants::default()).await.expect("compiled again");
    assert_eq!(runs(&folder), 2);
    drop(component);

    // Nothing is left over beside the artefact and its checksum.
    assert_eq!(std::fs::read_dir(folder.path().join("cache")).expect("the cache").count(), 2);
    let file = folder.path().join("job.wasm");
    std::fs::write(&file, &bytes).expect("written");
    let other = runtime.load_fetched(BlobKey([9; 32]), &Grants::default(), async || Ok(file)).await;
    assert!(line(&other.expect_err("another content")).starts_with("H9001: "));
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&folder);
    std::fs::create_dir(&options.cache_dir).expect("created");
    std::fs::set_permissions(&options.cache_dir, std::fs::Permissions::from_mode(0o777)).expect("changed");
    let error = line(&Runtime::new(options.clone()).expect_err("refused"));
    assert!(error.starts_with("H1201: the cache of compiled components /"), "{error}");
    assert!(error.contains("others can write to it, and could plant code there: chmod go-w /"), "{error}");
    std::fs::set_permissions(&options.cache_dir, std::fs::Permissions::from_mode(0o755)).expect("changed");
    Runtime::new(options).expect("accepted");
}

#[test]
fn grants_have_names() {
    let grants: Grants = "clocks, random".parse().expect("known");
    assert_eq!(grants, Grants { clocks: true, random: true, ..Default::default() });
    assert_eq!(grants.names(), ["clocks", "random"]);
    assert_eq!("".parse(), Ok(Grants::default()));
    let error = "clocks;teleport".parse::<Grants>().expect_err("unknown").to_string();
    assert!(error.starts_with("unknown grant `teleport`: expected "), "{error}");
}
