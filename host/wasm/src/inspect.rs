//! What kind of file it is, told from its bytes without compiling: a
//! component, a core module that can be wrapped into one, or something else.

use crate::error::Error;
use crate::imports::{Interface, Surface};
use heddle_model::failure::ErrorCode;
use wasmparser::{Chunk, Encoding, Parser, Payload};

/// What can be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A component; functions of its imports are not known yet.
    Component(Surface),
    /// A core module with the description of its world inside.
    Module,
}

/// Looks at the outermost level of a file.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Kind, Error> {
    if bytes.is_empty() {
        return invalid("the file is empty: expected a WebAssembly component");
    }
    if !bytes.starts_with(b"\0asm") {
        return invalid(what_else(bytes));
    }
    let mut parser = Parser::new(0);
    let mut offset = 0;
    let mut surface = Surface::default();
    let mut encoding = None;
    let mut described = false;
    loop {
        let (payload, consumed) = match parser.parse(&bytes[offset..], true) {
            Ok(Chunk::Parsed { payload, consumed }) => (payload, consumed),
            Ok(Chunk::NeedMoreData(_)) => return cut_off(offset, bytes.len()),
            Err(error) if error.message().contains("unexpected end") => return cut_off(offset, bytes.len()),
            Err(error) => return damaged(&error),
        };
        offset += consumed;
        match payload {
            Payload::Version { encoding: found, .. } => encoding = Some(found),
            Payload::CustomSection(section) => described |= section.name().starts_with("component-type"),
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let name = import.map_err(|error| damage(&error))?.name.name.to_owned();
                    surface.imports.push(Interface { name, functions: Vec::new() });
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    surface.exports.push(export.map_err(|error| damage(&error))?.name.name.to_owned());
                }
            }
            // The inside of nested modules and components is skipped here; the
            // compiler's process validates all of it.
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                if unchecked_range.end > bytes.len() {
                    return cut_off(offset, bytes.len());
                }
                offset = unchecked_range.end;
            }
            Payload::CodeSectionStart { range, size, .. } => {
                if range.end > bytes.len() {
                    return cut_off(offset, bytes.len());
                }
                parser.skip_section();
                offset += size as usize;
            }
            Payload::End(_) => break,
            _ => {}
        }
    }
    if offset < bytes.len() {
        return invalid(format!("the file goes on behind the end of the component, at byte {offset}"));
    }
    match encoding {
        Some(Encoding::Component) => Ok(Kind::Component(surface)),
        Some(Encoding::Module) if described => Ok(Kind::Module),
        _ => invalid(
            "the file is a core module, not a component: build it for the target wasm32-wasip2 \
             (cargo build --target wasm32-wasip2), or make a component of it with `wasm-tools component new`",
        ),
    }
}

/// Makes a component of a core module whose bindings were generated for our
/// world. Called in the compiler's process: the module is not trusted.
pub(crate) fn wrap(module: &[u8]) -> Result<Vec<u8>, Error> {
    let refuse = |error: &dyn std::fmt::Display| {
        let cause = crate::guest_log::clean(&crate::guest_log::cut(&error.to_string(), 500));
        let message = format!(
            "the core module cannot be made a component ({cause}): build it for the target wasm32-wasip2"
        );
        Error::new(ErrorCode::ComponentInvalid, message)
    };
    let encode = || wit_component::ComponentEncoder::default().module(module)?.validate(false).encode();
    encode().map_err(|error| refuse(&format!("{error:#}")))
}

fn what_else(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    let start = text.trim_start();
    if start.starts_with("(module") || start.starts_with("(component") || start.starts_with(";;") {
        return "the file is WebAssembly text, not a component: translate it with `wasm-tools parse`"
            .to_owned();
    }
    let kind = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "a native program",
        [b'P', b'K', ..] => "a zip or jar file",
        [0x1f, 0x8b, ..] => "a compressed file",
        _ if std::str::from_utf8(bytes).is_ok() => "a text file",
        _ => "something else",
    };
    format!(
        "the file is not WebAssembly, it looks like {kind}: build the job for the target wasm32-wasip2 and \
         give the .wasm file that comes out"
    )
}

fn damage(error: &wasmparser::BinaryReaderError) -> Error {
    let message = crate::guest_log::clean(&crate::guest_log::cut(error.message(), 300));
    Error::new(
        ErrorCode::ComponentInvalid,
        format!("the component is damaged at byte {}: {message}", error.offset()),
    )
}

fn damaged<T>(error: &wasmparser::BinaryReaderError) -> Result<T, Error> {
    Err(damage(error))
}

/// The outermost level has no mark at its end: whatever is added looks like the
/// begin of one more section.
fn cut_off<T>(section: usize, length: usize) -> Result<T, Error> {
    invalid(format!(
        "the component is truncated, or something was added to it: it ends after {length} bytes in the \
         middle of a section, which begins at byte {section}"
    ))
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::new(ErrorCode::ComponentInvalid, message))
}
