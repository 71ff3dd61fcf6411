//! What a component asks for and offers, by name: judged before anything of
//! it runs. The types behind the names are checked by wasmtime when it links.

use crate::error::Error;
use crate::options::Grants;
use heddle_model::failure::ErrorCode;

/// The version of the contract that this host speaks.
const CONTRACT_VERSION: &str = "0.1.0";
pub(crate) const JOB_EXPORT: &str = "heddle:operator/job@0.1.0";
const CONTRACT_IMPORTS: [&str; 7] = ["types", "output", "state", "timers", "metrics", "log", "panic"];

/// Names of the outside of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    pub imports: Vec<Interface>,
    pub exports: Vec<String>,
}

/// One imported interface and, where they are known, its functions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub name: String,
    pub functions: Vec<String>,
}

/// Whether the component is of our world and imports nothing that was not granted.
pub(crate) fn check(surface: &Surface, grants: &Grants) -> Result<(), Error> {
    check_exports(&surface.exports)?;
    surface.imports.iter().try_for_each(|import| check_import(import, grants))
}

fn check_exports(exports: &[String]) -> Result<(), Error> {
    if exports.iter().any(|name| name == JOB_EXPORT) {
        return Ok(());
    }
    let world = |message: String| Err(Error::new(ErrorCode::ComponentWorld, message));
    if let Some(name) = exports.iter().find(|name| name.starts_with("heddle:operator/job@")) {
        let version = name.rsplit('@').next().unwrap_or_default();
        return world(format!(
            "the component is made for version {version} of heddle:operator, and this Heddle runs {CONTRACT_VERSION}: \
             build it with the SDK of this version"
        ));
    }
    if exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
        return world(format!(
            "the component is a command (it exports wasi:cli/run), not a job (export {JOB_EXPORT}): \
             build it as a library (crate-type \"cdylib\") with #[heddle::main]"
        ));
    }
    let offers = match exports {
        [] => "it exports nothing".to_owned(),
        _ => format!("it exports {}", list(exports)),
    };
    world(format!("the component is not a job: the export {JOB_EXPORT} is missing, {offers}"))
}

fn check_import(import: &Interface, grants: &Grants) -> Result<(), Error> {
    let name = import.name.as_str();
    if let Some(of_contract) = name.strip_prefix("heddle:operator/") {
        let known = of_contract.split_once('@').is_some_and(|(interface, version)| {
            version == CONTRACT_VERSION && CONTRACT_IMPORTS.contains(&interface)
        });
        if known {
            return Ok(());
        }
        return Err(Error::new(
            ErrorCode::ComponentWorld,
            format!(
                "the component imports {name}, which version {CONTRACT_VERSION} of the contract does not have: \
                     build it with the SDK of this version"
            ),
        ));
    }
    let (package, interface) = name.split_once('/').unwrap_or((name, ""));
    match package {
        "wasi:io" | "wasi:cli" | "wasi:clocks" | "wasi:random" => Ok(()),
        "wasi:sockets" => needs_grant(name, "sockets", grants.sockets),
        "wasi:http" => needs_grant(name, "http", grants.http),
        "wasi:filesystem" => {
            // What only looks at standard streams goes through; what opens
            // a file is a wish for files.
            let opens = import.functions.iter().find(|function| is_file_access(function));
            match opens {
                Some(function) => needs_grant(&format!("{name}#{function}"), "filesystem", grants.filesystem),
                None if interface.starts_with("types@") || interface.starts_with("preopens@") => Ok(()),
                None => needs_grant(name, "filesystem", grants.filesystem),
            }
        }
        _ => Err(Error::new(
            ErrorCode::ComponentImport,
            format!(
                "the component imports {name}, which Heddle does not offer and no grant gives: remove what needs it"
            ),
        )),
    }
}

fn is_file_access(function: &str) -> bool {
    [
        "open-at",
        "create-directory-at",
        "link-at",
        "remove-directory-at",
        "rename-at",
        "symlink-at",
        "unlink-file-at",
    ]
    .iter()
    .any(|suffix| function.strip_prefix("[method]descriptor.") == Some(suffix))
}

fn needs_grant(import: &str, grant: &str, granted: bool) -> Result<(), Error> {
    let message = if granted {
        format!("the component imports {import}: the grant `{grant}` is served by a later version of Heddle")
    } else {
        format!(
            "the component imports {import}, and the job is not granted `{grant}`: remove what needs it, \
             or grant it when a later version of Heddle serves it"
        )
    };
    Err(Error::new(ErrorCode::ComponentImport, message))
}

/// Some names for a message.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| crate::guest_log::clean(&crate::guest_log::cut(name, 100)))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
