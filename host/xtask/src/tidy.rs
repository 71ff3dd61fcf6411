//! The form of the sources: what a compiler does not check and a reader counts
//! on.

use crate::workspace;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const LINES_MAX: usize = 800;
/// Longest ARCHITECTURE.md, in lines.
const MAP_LINES_MAX: usize = 200;
/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

pub fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    let mut complaints = Vec::new();
    let files = sources(&root)?;
    for path in &files {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| path.display().to_string())?;
        complaints.extend(check(path, &text));
    }
    complaints.extend(check_map(&root)?);
    complaints.extend(check_error_pages(&root)?);
    if complaints.is_empty() {
        eprintln!("tidy: {} files", files.len());
        return Ok(());
    }
    bail!("{} complaints\n{}", complaints.len(), complaints.join("\n"))
}

/// Every Rust source of the checkout, as git knows them.
fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
        .current_dir(root)
        .output();
    let mut files = match output {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect()
        }
        // An unpacked archive.
        _ => {
            let mut files = Vec::new();
            walk(root, Path::new(""), &mut files)?;
            files
        }
    };
    files.retain(|path: &PathBuf| root.join(path).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            let name = entry.file_name();
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                walk(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut complaints = Vec::new();
    // A case of a compile test is what a user writes, and its message names lines.
    let is_compile_case = path.components().any(|part| part.as_os_str() == "ui");
    if !text.starts_with("//!") && !is_compile_case {
        complaints
            .push(format!("{shown}:1: does not start with `//!`: what is it for, what must it not know?"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!("{shown}:{lines}: longer than {LINES_MAX} lines"));
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if stem == "mod" {
        complaints.push(format!("{shown}:1: name it after its module instead of mod.rs"));
    }
    let folders = path.parent().into_iter().flat_map(Path::components);
    let names = folders.map(|part| part.as_os_str().to_string_lossy().into_owned()).chain([stem]);
    for name in names.filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
        complaints.push(format!("{shown}:1: `{name}` says nothing of what is inside"));
    }
    // In two pieces, so that this file passes.
    for word in
        [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("todo", "!("), concat!("unimplemented", "!(")]
    {
        for (number, _) in text.lines().enumerate().filter(|(_, line)| line.contains(word)) {
            complaints.push(format!("{shown}:{}: `{word}` on main", number + 1));
        }
    }
    for (number, _) in text.lines().enumerate().filter(|(_, line)| is_barrel(line)) {
        complaints.push(format!("{shown}:{}: name what is exported instead of `*`", number + 1));
    }
    complaints
}

fn is_barrel(line: &str) -> bool {
    line.starts_with("pub use ") && line.trim_end().ends_with("::*;")
}

fn check_map(root: &Path) -> anyhow::Result<Vec<String>> {
    let lines = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?.lines().count();
    let long = lines > MAP_LINES_MAX;
    Ok(long
        .then(|| format!("ARCHITECTURE.md:{lines}: longer than {MAP_LINES_MAX} lines"))
        .into_iter()
        .collect())
}

/// Each code of `failure.rs` has its page, and each page its code.
fn check_error_pages(root: &Path) -> anyhow::Result<Vec<String>> {
    let source = std::fs::read_to_string(root.join("host/model/src/failure.rs"))?;
    let codes: Vec<&str> = source
        .lines()
        .filter_map(|line| line.split_once("= \"H").map(|(_, rest)| rest))
        .filter_map(|rest| rest.split_once('"').map(|(digits, _)| digits))
        .collect();
    let mut complaints = Vec::new();
    for code in &codes {
        let page = format!("docs/errors/H{code}.md");
        match std::fs::read_to_string(root.join(&page)) {
            Ok(text) if text.starts_with(&format!("# H{code}")) => {}
            Ok(_) => complaints.push(format!("{page}:1: does not start with `# H{code}`")),
            Err(_) => complaints.push(format!("{page}: missing")),
        }
    }
    for entry in std::fs::read_dir(root.join("docs/errors"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let code = name.strip_prefix('H').and_then(|name| name.strip_suffix(".md"));
        if code.is_some_and(|code| !codes.contains(&code)) {
            complaints.push(format!("docs/errors/{name}: no such code in host/model/src/failure.rs"));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_passes() {
        assert_eq!(check(Path::new("host/a/src/lib.rs"), "//! What it is for.\n"), Vec::<String>::new());
    }

    #[test]
    fn every_habit_is_checked() {
        let long = format!("//! x\n{}", "\n".repeat(LINES_MAX));
        let marked = format!("//! x\n// {}: later\n", concat!("FIX", "ME"));
        for (path, text, complaint) in [
            ("a/lib.rs", "use x;\n", "does not start with `//!`"),
            ("a/lib.rs", long.as_str(), "longer than 800 lines"),
            ("a/b/mod.rs", "//! x\n", "name it after its module"),
            ("a/utils.rs", "//! x\n", "`utils` says nothing"),
            ("a/helpers/x.rs", "//! x\n", "`helpers` says nothing"),
            ("a/lib.rs", marked.as_str(), "on main"),
            ("a/lib.rs", "//! x\npub use x::*;\n", "name what is exported"),
        ] {
            let complaints = check(Path::new(path), text);
            assert!(complaints.len() == 1 && complaints[0].contains(complaint), "{path}: {complaints:?}");
        }
    }
}
