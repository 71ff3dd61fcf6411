//! The XML of a configuration file: properties, and other files that it
//! includes. Knows no key.

use crate::hadoop::{Error, content};
use roxmltree::{Document, Node};
use std::path::{Path, PathBuf};

/// Files that include files that include files.
const DEPTH_MAX: usize = 16;
const XINCLUDE: &str = "http://www.w3.org/2001/XInclude";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: String,
    pub is_final: bool,
    /// Where it stands, which may be an included file.
    pub file: PathBuf,
}

/// The properties of a file in their order.
pub fn properties(file: &Path) -> Result<Vec<Property>, Error> {
    let mut found = Vec::new();
    read(file, 0, &mut found)?;
    Ok(found)
}

fn read(file: &Path, depth: usize, found: &mut Vec<Property>) -> Result<(), Error> {
    let text = content(file)?;
    let document = Document::parse(&text).map_err(|error| Error::Xml {
        file: file.to_path_buf(),
        line: error.pos().row,
        reason: error.to_string(),
    })?;
    let root = document.root_element();
    if !root.has_tag_name("configuration") {
        return Err(wrong(file, root, "the root element is not <configuration>".to_owned()));
    }
    elements(file, root, depth, found)
}

fn elements(file: &Path, parent: Node<'_, '_>, depth: usize, found: &mut Vec<Property>) -> Result<(), Error> {
    for element in parent.children().filter(Node::is_element) {
        if element.has_tag_name("property") {
            found.extend(property(file, element)?);
        } else if element.has_tag_name("configuration") {
            if depth >= DEPTH_MAX {
                return Err(wrong(file, element, format!("more than {DEPTH_MAX} levels")));
            }
            elements(file, element, depth + 1, found)?;
        } else if element.has_tag_name((XINCLUDE, "include")) || element.has_tag_name("include") {
            include(file, element, depth, found)?;
        }
    }
    Ok(())
}

fn property(file: &Path, element: Node<'_, '_>) -> Result<Option<Property>, Error> {
    let part = |name: &str| {
        let child = element.children().find(|child| child.has_tag_name(name));
        let text = child.map(|child| {
            child.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect::<String>()
        });
        // The short form: <property name="…" value="…"/>.
        text.or_else(|| element.attribute(name).map(str::to_owned))
    };
    let Some(name) = part("name").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()) else {
        return Err(wrong(file, element, "a property without a name".to_owned()));
    };
    // A property without a value says nothing.
    let Some(value) = part("value") else { return Ok(None) };
    let is_final = part("final").is_some_and(|text| text.trim() == "true");
    Ok(Some(Property { name, value, is_final, file: file.to_path_buf() }))
}

fn include(file: &Path, element: Node<'_, '_>, depth: usize, found: &mut Vec<Property>) -> Result<(), Error> {
    let href = element.attribute("href").unwrap_or_default();
    if href.is_empty() {
        return Err(wrong(file, element, "an include without `href`".to_owned()));
    }
    if depth >= DEPTH_MAX {
        return Err(wrong(file, element, format!("more than {DEPTH_MAX} files include each other")));
    }
    let path = href.strip_prefix("file://").unwrap_or(href);
    if path.contains("://") {
        return Err(wrong(file, element, format!("`{href}` is not a file of this machine")));
    }
    let included = file.parent().unwrap_or(Path::new("")).join(path);
    if included.is_file() {
        return read(&included, depth + 1, found);
    }
    let fallback = element.children().find(|child| child.tag_name().name() == "fallback");
    match fallback {
        Some(fallback) => elements(file, fallback, depth + 1, found),
        None => Err(wrong(file, element, format!("the included file {} does not exist", included.display()))),
    }
}

fn wrong(file: &Path, node: Node<'_, '_>, reason: String) -> Error {
    let line = node.document().text_pos_at(node.range().start).row;
    Error::Xml { file: file.to_path_buf(), line, reason }
}
