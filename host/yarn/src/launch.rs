//! What a container is started with: files, environment, commands, tokens.

use crate::messages::yarn;
use crate::token::Credentials;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who may use a file that a node has fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// Everybody on the node: the file is readable by all.
    Public,
    /// All applications of this user.
    User,
    /// This application.
    Application,
}

/// A file that a node fetches before it starts a container. Length and time
/// must be exactly those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalResource {
    pub url: Url,
    pub bytes: u64,
    pub modified_ms: i64,
    /// Whether it is unpacked.
    pub is_archive: bool,
    pub visibility: Visibility,
}

/// Where a file is, as YARN takes it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url {
    pub scheme: String,
    /// Empty for `file`.
    pub host: String,
    pub port: Option<u16>,
    pub path: String,
}

impl From<Url> for yarn::Url {
    fn from(url: Url) -> Self {
        Self {
            scheme: Some(url.scheme),
            host: (!url.host.is_empty()).then_some(url.host),
            port: Some(url.port.map_or(-1, i32::from)),
            file: Some(url.path),
            user_info: None,
        }
    }
}

impl From<LocalResource> for yarn::LocalResource {
    fn from(resource: LocalResource) -> Self {
        let kind = if resource.is_archive {
            yarn::LocalResourceType::Archive
        } else {
            yarn::LocalResourceType::File
        };
        let visibility = match resource.visibility {
            Visibility::Public => yarn::LocalResourceVisibility::Public,
            Visibility::User => yarn::LocalResourceVisibility::Private,
            Visibility::Application => yarn::LocalResourceVisibility::Application,
        };
        Self {
            resource: Some(resource.url.into()),
            size: Some(i64::try_from(resource.bytes).unwrap_or(i64::MAX)),
            timestamp: Some(resource.modified_ms),
            r#type: Some(kind.into()),
            visibility: Some(visibility.into()),
            pattern: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// By their names in the container's folder.
    pub files: BTreeMap<String, LocalResource>,
    /// The values arrive as they are here.
    pub environment: BTreeMap<String, String>,
    /// Shell commands; a node runs them as `bash -c "…"`, so that they have no
    /// double quotes of their own.
    pub commands: Vec<String>,
    pub credentials: Credentials,
    /// Who may look and who may kill: users, a blank, groups.
    pub view_acl: Option<String>,
    pub modify_acl: Option<String>,
}

impl From<Launch> for yarn::ContainerLaunchContext {
    fn from(launch: Launch) -> Self {
        let files = launch.files.into_iter();
        let environment = launch.environment.into_iter();
        let acls = [
            (yarn::ApplicationAccessType::AppaccessViewApp, launch.view_acl),
            (yarn::ApplicationAccessType::AppaccessModifyApp, launch.modify_acl),
        ];
        let acls = acls.into_iter().filter_map(|(kind, acl)| {
            Some(yarn::ApplicationAcl { access_type: Some(kind.into()), acl: Some(acl?) })
        });
        Self {
            local_resources: files
                .map(|(key, file)| yarn::StringLocalResource { key: Some(key), value: Some(file.into()) })
                .collect(),
            tokens: Some(launch.credentials.write()),
            service_data: Vec::new(),
            environment: environment
                .map(|(key, value)| yarn::StringString { key: Some(key), value: Some(escaped(&value)) })
                .collect(),
            command: launch.commands,
            application_acls: acls.collect(),
        }
    }
}

/// A node writes a value between double quotes into a shell script.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars() {
        if matches!(letter, '\\' | '"' | '$' | '`') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}
