//! `cargo xtask dist`: the release build of `heddle` and of the examples, as
//! one folder that can be copied anywhere.

use crate::steps::Steps;
use crate::workspace::{cargo, metadata, root, target};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const GUEST_TARGET: &str = "wasm32-wasip2";

/// What `dist` leaves behind.
pub struct Dist {
    pub folder: PathBuf,
}

impl Dist {
    pub fn heddle(&self) -> PathBuf {
        self.folder.join("bin/heddle")
    }

    pub fn example(&self, name: &str) -> PathBuf {
        self.folder.join("examples").join(name).with_extension("wasm")
    }
}

pub fn run() -> anyhow::Result<Dist> {
    let mut steps = Steps::new(3);
    steps.step(&format!("the target {GUEST_TARGET}"), add_guest_target)?;
    let heddle = steps.step("heddle (release)", || {
        let artifacts = build(&["--release", "--package", "heddle-cli", "--bin", "heddle"])?;
        artifacts.into_iter().map(|(_, path)| path).next_back().context("cargo named no binary")
    })?;
    let components = steps.step("examples", || build_components("examples"))?;

    let folder = target().join("dist");
    for part in ["bin", "conf", "examples"] {
        std::fs::create_dir_all(folder.join(part)).with_context(|| folder.display().to_string())?;
    }
    copy(&heddle, &folder.join("bin/heddle"))?;
    for file in ["config.yaml", "masters", "workers"] {
        copy(&root().join("conf").join(file), &folder.join("conf").join(file))?;
    }
    for (name, path) in &components {
        copy(path, &folder.join("examples").join(name).with_extension("wasm"))?;
    }
    copy_pages(&root().join("docs"), &folder.join("docs"))?;
    eprintln!("   {} ({} examples) in {}", folder.display(), components.len(), steps.elapsed());
    Ok(Dist { folder })
}

/// Beside the old file, then in its place: a running `heddle` keeps its own.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh)
        .and_then(|_| std::fs::rename(&fresh, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// The pages that messages refer to.
fn copy_pages(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_pages(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn add_guest_target() -> anyhow::Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .current_dir(root())
        .output()
        .context("cannot run rustc")?;
    if Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    let status = Command::new("rustup").args(["target", "add", GUEST_TARGET]).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("the target {GUEST_TARGET} is missing; add it with `rustup target add {GUEST_TARGET}`"),
    }
}

/// The guests of the tests, in `test-guests` beside the examples.
pub fn build_test_guests(dist: &Dist) -> anyhow::Result<()> {
    let folder = dist.folder.join("test-guests");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, path) in &build_components("tests/guests")? {
        copy(path, &folder.join(name).with_extension("wasm"))?;
    }
    Ok(())
}

/// Packages of a folder: the name of each one's folder, and its own.
pub fn packages(metadata: &Value, folder: &str) -> Vec<(String, String)> {
    let folder = root().join(folder);
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut packages: Vec<(String, String)> = packages
        .filter_map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let name = manifest.parent()?.strip_prefix(&folder).ok()?;
            Some((name.to_str()?.replace('/', "-"), package["name"].as_str()?.to_owned()))
        })
        .collect();
    packages.sort();
    packages
}

/// Builds every package of a folder for the guest; gives names and components.
fn build_components(folder: &str) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let packages = packages(&metadata(&["--no-deps"])?, folder);
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let mut arguments = vec!["--profile", "guest", "--target", GUEST_TARGET];
    for (_, package) in &packages {
        arguments.extend(["--package", package]);
    }
    let artifacts = build(&arguments)?;
    packages
        .into_iter()
        .map(|(name, package)| {
            let component = artifacts.iter().find(|(built, _)| *built == package);
            let (_, path) = component.with_context(|| format!("{folder}/{name} gave no component"))?;
            Ok((name, path.clone()))
        })
        .collect()
}

/// `cargo build`; gives the package and the path of each program or component
/// of the workspace that came out.
pub fn build(arguments: &[&str]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let output = cargo()
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        .env("CARGO_TARGET_DIR", target())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build")?;
    if !output.status.success() {
        bail!("cargo build {} failed", arguments.join(" "));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut artifacts = Vec::new();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let package = package_name(message["package_id"].as_str().unwrap_or_default());
        let mut files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let component = files.rfind(|file| file.ends_with(".wasm"));
        if let Some(path) = message["executable"].as_str().or(component) {
            artifacts.push((package, PathBuf::from(path)));
        }
    }
    Ok(artifacts)
}

/// The name in a package id: `path+file:///x/word-count#0.1.0` or
/// `path+file:///x/y#word-count@0.1.0`.
fn package_name(id: &str) -> String {
    let (place, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => place.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages() {
        assert_eq!(package_name("path+file:///x/examples/word-count#0.1.0"), "word-count");
        assert_eq!(package_name("path+file:///x/host/cli#heddle-cli@0.1.0"), "heddle-cli");
    }

    #[test]
    fn packages_are_found_by_their_folder() {
        let at = |path: &str| root().join(path).display().to_string();
        let metadata = serde_json::json!({ "packages": [
            { "name": "heddle-cli", "manifest_path": at("host/cli/Cargo.toml") },
            { "name": "example-word-count", "manifest_path": at("examples/word-count/Cargo.toml") },
        ] });
        assert_eq!(
            packages(&metadata, "examples"),
            [("word-count".to_owned(), "example-word-count".to_owned())]
        );
    }
}
