//! What a user wants in the folder of each container: files, folders with all
//! that is in them, archives that are unpacked.

use crate::yarn::{CONF_DIR, HADOOP_CONF_DIR};
use heddle_filesystem::{FileSystem as _, Kind, Local};
use heddle_model::config::{ConfigOption, Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_yarn::deploy::Shipped;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ARCHIVES: [&str; 5] = [".zip", ".tar", ".tar.gz", ".tgz", ".jar"];

/// By their names in the container. `is_taken` knows the names of others.
///
/// # Errors
/// H1201: a file is not there, is no archive, or has a name that is taken.
pub(super) fn find(
    configuration: &Configuration,
    is_taken: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Shipped>, Failure> {
    let mut found = BTreeMap::new();
    for (option, is_archive) in [(&o::YARN_SHIP_FILES, false), (&o::YARN_SHIP_ARCHIVES, true)] {
        for address in configuration.get(option) {
            let wrong = |reason: String| wrong(option, &address, &reason);
            if is_archive && !ARCHIVES.iter().any(|end| address.to_lowercase().ends_with(end)) {
                return Err(wrong(format!("it is no archive ({})", ARCHIVES.join(", "))));
            }
            for (name, file) in files_of(&address).map_err(|error| wrong(error.to_string()))? {
                let first = name.split('/').next().unwrap_or_default();
                if is_taken(&name) || [CONF_DIR, HADOOP_CONF_DIR].contains(&first) {
                    return Err(wrong(format!("a container has `{name}` already")));
                }
                if is_archive && name.contains('/') {
                    return Err(wrong("it is a folder".to_owned()));
                }
                if found.insert(name.clone(), Shipped { file, is_archive }).is_some() {
                    return Err(wrong(format!("`{name}` is shipped twice")));
                }
            }
        }
    }
    Ok(found)
}

fn wrong(option: &ConfigOption<Vec<String>>, address: &str, reason: &str) -> Failure {
    let message = format!("`{address}` of `{}` cannot be shipped: {reason}", option.key());
    Failure::new(ErrorCode::ConfigurationInvalid, message)
}

/// A file under its name, or the files of a folder under the folder's name.
fn files_of(address: &str) -> std::io::Result<Vec<(String, PathBuf)>> {
    let path = Path::new(address.strip_prefix("file://").unwrap_or(address));
    let name = path.file_name().ok_or_else(|| std::io::Error::other("it has no name"))?;
    let name = name.to_str().ok_or_else(|| std::io::Error::other("its name is no text"))?;
    if address.starts_with("hdfs://") || Local.status(path)?.kind == Kind::File {
        return Ok(vec![(name.to_owned(), path.to_path_buf())]);
    }
    let mut files = Vec::new();
    for (file, status) in Local.walk(path, &|_| true)? {
        if status.kind != Kind::File {
            continue;
        }
        let below = file.strip_prefix(path).ok().and_then(Path::to_str);
        let below = below.ok_or_else(|| std::io::Error::other(format!("{} is no text", file.display())))?;
        files.push((format!("{name}/{below}"), file));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::find;
    use heddle_model::config::{Configuration, Origin};
    use std::fs;

    #[test]
    fn a_folder_keeps_its_form_and_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        fs::create_dir_all(folder.path().join("data/deep")).unwrap();
        for name in ["data/a", "data/deep/b", "c.tar.gz", "heddle"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let find = |key: &str, value: &str| {
            let mut configuration = Configuration::default();
            configuration.set(key, value, Origin::DynamicProperty).unwrap();
            find(&configuration, |name| name == "heddle")
        };
        let shipped = find("yarn.ship-files", &format!("{root}/data;{root}/c.tar.gz")).unwrap();
        let names: Vec<_> = shipped.keys().map(String::as_str).collect();
        assert_eq!(names, ["c.tar.gz", "data/a", "data/deep/b"]);
        let shipped = find("yarn.ship-archives", &format!("{root}/c.tar.gz")).unwrap();
        assert!(shipped["c.tar.gz"].is_archive);
        for (key, value, expected) in [
            ("yarn.ship-files", format!("{root}/none"), "No such file"),
            ("yarn.ship-files", format!("{root}/heddle"), "has `heddle` already"),
            ("yarn.ship-files", format!("{root}/c.tar.gz;{root}/c.tar.gz"), "shipped twice"),
            ("yarn.ship-archives", format!("{root}/data/a"), "is no archive"),
        ] {
            let failure = find(key, &value).unwrap_err();
            assert!(failure.message.contains(expected), "{failure}");
        }
    }
}
